//! Resending or stopping everything that a filter shows: counted first, at a rate, with progress, and
//! stopped at any time.
//!
//! The daemon does it; the dialog asks how far it is. Closing the dialog leaves the job alone, and
//! says how to get back to it.

use std::time::Duration;

use tui_input::Input;

use crate::admin::client::{Bulk, DeliveryFilter};
use crate::admin::protocol::{BulkCount, BulkRequest, JobView};
use crate::domain::time::Timestamp;
use crate::tui::keys::{Code, Key};
use crate::tui::message::{Answered, Ask, Effects, Got};
use crate::tui::model::{Dialog, Fate, Model};
use crate::tui::text::{count, plural, safe, words};
use crate::tui::theme::Role;
use crate::tui::update::{change, type_into};
use crate::tui::view::pen::Pen;

/// How often it is asked how far a job is.
const LOOK: Duration = Duration::from_millis(500);

enum Stage {
    Counting,
    Counted(Box<BulkCount>),
    Running(Box<JobView>),
    Refused(String),
}

/// The dialog.
pub struct BulkDialog {
    what: Bulk,
    request: BulkRequest,
    said: String,
    stage: Stage,
    rate: Input,
    on_yes: bool,
    looked_at: Timestamp,
    busy: bool,
}

/// Counts first, then asks.
pub(crate) fn open(model: &mut Model, what: Bulk, filter: &DeliveryFilter, said: &str, out: &mut Effects) {
    let filter = filter.object();
    let request = BulkRequest { all: filter.is_empty(), filter, dry_run: false, rate_per_second: None };
    out.ask(Ask::Count(what, Box::new(request.clone())));
    model.dialogs.push(Box::new(BulkDialog {
        what,
        request,
        said: describe(what, said),
        stage: Stage::Counting,
        rate: Input::new("50".to_owned()),
        on_yes: false,
        looked_at: model.now,
        busy: false,
    }));
}

/// What is meant, in words. Without a state in the filter, the daemon resends what failed and stops
/// what is pending.
fn describe(what: Bulk, said: &str) -> String {
    let which = match what {
        Bulk::Resend => "failed",
        Bulk::Cancel => "is pending",
    };
    match said {
        "" => format!("everything that {which}"),
        said if said.contains("state=") => format!("only {said}"),
        said => format!("what {which} of {said}"),
    }
}

/// Shows a job that is under way.
pub(crate) fn follow(model: &mut Model, job: &JobView) {
    let what = if job.kind == "cancel" { Bulk::Cancel } else { Bulk::Resend };
    model.dialogs.push(Box::new(BulkDialog {
        what,
        request: BulkRequest::default(),
        said: String::new(),
        stage: Stage::Running(Box::new(job.clone())),
        rate: Input::default(),
        on_yes: false,
        looked_at: model.now,
        busy: false,
    }));
}

impl BulkDialog {
    fn verb(&self) -> &'static str {
        match self.what {
            Bulk::Resend => "Resend",
            Bulk::Cancel => "Stop retrying",
        }
    }

    fn start(&mut self, model: &mut Model, out: &mut Effects) {
        match self.rate.value().trim().parse::<u32>() {
            Ok(rate) if (1..=1000).contains(&rate) => {
                self.request.rate_per_second = Some(rate);
                change(model, Ask::Start(self.what, Box::new(self.request.clone())), out);
            }
            _ => model.complain("the rate is a number from 1 to 1000"),
        }
    }

    fn is_running(&self) -> bool {
        matches!(&self.stage, Stage::Running(job) if job.state == "running")
    }
}

impl Dialog for BulkDialog {
    fn key(&mut self, model: &mut Model, key: Key, out: &mut Effects) -> Fate {
        match (&self.stage, key.code) {
            (Stage::Running(job), Code::Char('s')) if job.state == "running" => {
                change(model, Ask::StopJob(job.id.clone()), out);
            }
            (Stage::Running(job), Code::Esc | Code::Enter | Code::Char('q')) => {
                if self.is_running() {
                    model.say(format!("it goes on; `:job {}` shows it again", job.id));
                }
                return Fate::Close;
            }
            (_, Code::Esc) | (Stage::Refused(_) | Stage::Counting, Code::Enter) => return Fate::Close,
            (Stage::Counted(_), Code::Tab | Code::BackTab) => self.on_yes = !self.on_yes,
            (Stage::Counted(found), Code::Enter) => {
                if !self.on_yes || found.matched == 0 {
                    return Fate::Close;
                }
                self.start(model, out);
            }
            (Stage::Counted(found), Code::Char('y')) if found.matched > 0 => self.start(model, out),
            (Stage::Counted(_), Code::Char(digit)) if !digit.is_ascii_digit() => {}
            (Stage::Counted(_), _) => {
                type_into(&mut self.rate, key);
            }
            _ => {}
        }
        Fate::Stay
    }

    fn answered(&mut self, model: &mut Model, answered: &Answered, _out: &mut Effects) -> Fate {
        match (&answered.ask, &answered.got) {
            (Ask::Count(..), Ok(Got::Counted(found))) => self.stage = Stage::Counted(found.clone()),
            (Ask::Start(..) | Ask::Job(_) | Ask::StopJob(_), Ok(Got::Job(job))) => {
                self.busy = false;
                if job.state != "running" {
                    model.untouched = true;
                }
                self.stage = Stage::Running(job.clone());
            }
            (Ask::Count(..) | Ask::Start(..), Err(trouble)) => {
                self.stage = Stage::Refused(trouble.words().to_owned());
            }
            (Ask::Job(_), Err(_)) => self.busy = false,
            _ => {}
        }
        Fate::Stay
    }

    fn wake(&self, model: &Model) -> Option<Duration> {
        let waits = self.is_running() && !self.busy;
        waits.then(|| LOOK.saturating_sub(model.now.since(self.looked_at)).max(Duration::from_millis(20)))
    }

    fn tick(&mut self, model: &mut Model, out: &mut Effects) {
        if let Stage::Running(job) = &self.stage
            && job.state == "running"
            && !self.busy
            && model.now.since(self.looked_at) >= LOOK
        {
            (self.looked_at, self.busy) = (model.now, true);
            out.ask(Ask::Job(job.id.clone()));
        }
    }

    fn view(&self, _model: &Model, pen: &mut Pen<'_>) {
        match &self.stage {
            Stage::Counting => {
                let mut inside = pen.dialog(60, 3, self.verb(), "Esc: Cancel");
                inside.text(1, 1, &format!("counting: {}", self.said), Role::Text);
            }
            Stage::Refused(why) => {
                let lines = crate::tui::text::wrapped(why, 58);
                let mut inside = pen.dialog(60, lines.len() + 2, self.verb(), "Esc: close");
                lines.iter().enumerate().for_each(|(y, line)| {
                    inside.text(1, y + 1, line, Role::Bad);
                });
            }
            Stage::Counted(found) => self.view_count(found, pen),
            Stage::Running(job) => self.view_job(job, pen),
        }
    }
}

impl BulkDialog {
    fn view_count(&self, found: &BulkCount, pen: &mut Pen<'_>) {
        let more = if found.complete { "" } else { " or more" };
        let number = format!("{}{more}", plural(found.matched, "delivery", "deliveries"));
        let mut lines = vec![self.said.clone(), String::new()];
        let mut hooks: Vec<(&String, &u64)> = found.by_webhook.iter().collect();
        hooks.sort_by(|a, b| b.1.cmp(a.1));
        for (name, number) in hooks.iter().take(5) {
            lines.push(format!("{:>9}  {}", count(**number), safe(name)));
        }
        if hooks.len() > 5 {
            lines.push(format!("           and {} more webhooks", hooks.len() - 5));
        }
        if let (Some(oldest), Some(newest)) = (&found.oldest, &found.newest) {
            let date = |at: &str| at.get(..16).unwrap_or(at).replace('T', " ");
            lines.push(format!("accepted from {} to {} UTC", date(oldest), date(newest)));
        }
        if let Some(dead) = found.dead_links.as_ref().filter(|dead| dead.with > 0) {
            lines.push(format!("links have likely expired in {} of {} that were looked at", dead.with, dead.sampled));
        }
        let title = format!("{} {number}?", self.verb());
        let foot = "y: start   digits: rate   Tab: move   Esc: Cancel";
        let mut inside = pen.dialog(62, lines.len() + 6, &title, foot);
        for (y, line) in lines.iter().enumerate() {
            inside.text(1, y + 1, line, Role::Text);
        }
        let y = lines.len() + 2;
        let x = inside.text(1, y, "Rate      ", Role::Heading);
        inside.field(x, y, 6, &self.rate, true);
        let rate = self.rate.value().trim().parse::<u64>().unwrap_or(50).max(1);
        inside.text(x + 7, y, &format!("a second: about {}", words(found.matched.div_ceil(rate))), Role::Text);
        inside.buttons(0, y + 2, &["Cancel", "Start"], usize::from(self.on_yes));
    }

    fn view_job(&self, job: &JobView, pen: &mut Pen<'_>) {
        let running = job.state == "running";
        let foot = if running { "s: stop   Esc: close, it goes on" } else { "Esc: close" };
        let mut inside = pen.dialog(62, 7, &format!("{}: {}", self.verb(), job.state), foot);
        let matched = job.matched.max(job.done).max(1);
        let columns = inside.width().saturating_sub(10);
        let full = usize::try_from(job.done * columns as u64 / matched).unwrap_or(columns).min(columns);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(columns - full));
        inside.text(1, 1, &bar, Role::Good);
        inside.text(columns + 2, 1, &format!("{:>3} %", job.done * 100 / matched), Role::Text);
        let line = format!("{} of {}, {} a second", count(job.done), count(job.matched), job.rate_per_second);
        inside.text(1, 3, &line, Role::Text);
        let verb = if self.what == Bulk::Resend { "sent again" } else { "stopped" };
        let line =
            format!("{} {verb}   {} left alone   {} failed", count(job.changed), count(job.skipped), count(job.failed));
        inside.text(1, 4, &line, if job.failed > 0 { Role::Warning } else { Role::Text });
        if let Some(why) = job.error.as_ref().or(job.waits.as_ref()) {
            inside.text(1, 5, why, Role::Warning);
        }
    }
}
