//! Lists walked in both directions, against a plain model: for random stores, filters, limits and
//! places to begin, one direction gives exactly the reverse of the other, each row once.

use std::collections::BTreeMap;
use std::time::Duration;

use postrider::domain::attempt::{Attempt, Class, ErrorKind, Outcome, Phases, Trigger};
use postrider::domain::delivery::{Delivery, State};
use postrider::domain::event::{Event, Location};
use postrider::domain::id::{DeliveryId, EventId, EventIds, WebhookId};
use postrider::domain::references::References;
use postrider::domain::retry::{Backoff, RetryPlan};
use postrider::domain::time::Timestamp;
use postrider::index::{Index, Order, Query, Walk};
use postrider::random::Random;

use crate::support::daemon::Daemon;

const START: Timestamp = Timestamp::from_millis(1_795_300_000_000);
const DAY: Duration = Duration::from_hours(24);
const PLAN: RetryPlan = RetryPlan {
    count: 1,
    interval: Duration::from_secs(1),
    backoff: Backoff::Fixed,
    interval_max: Duration::from_secs(1),
};
const TYPES: [&str; 2] = ["SOS_REPORT", "ACCOUNT_CHECK"];

#[derive(Clone, Debug)]
struct Row {
    webhook: WebhookId,
    version: u32,
    delivery: Delivery,
    attempts: Vec<Attempt>,
}

struct Model {
    index: Index,
    chance: Random,
    events: BTreeMap<EventId, Event>,
    rows: BTreeMap<DeliveryId, Row>,
}

fn webhook(number: usize) -> WebhookId {
    WebhookId::from_bytes([u8::try_from(number).unwrap(); 16])
}

fn location() -> Location {
    Location { segment: 1, offset: 0, length: 9 }
}

impl Model {
    fn pick(&self, below: usize) -> usize {
        (self.chance.unit() * below as f64) as usize
    }

    fn accept(&mut self, id: EventId) {
        let references = vec![format!("ref-{:02}", self.pick(20)), format!("own-{}", self.pick(1_000))];
        let event = Event {
            id,
            event_type: TYPES[self.pick(2)].to_owned(),
            content_type: "application/json".to_owned(),
            scan_ref: None,
            references: References::from(references),
            token: "t".to_owned(),
            idempotency: None,
            trace: None,
        };
        let mut targets: Vec<(WebhookId, u32)> = (0..self.pick(5)).map(|number| (webhook(number), 1)).collect();
        let skipped = targets.split_off(self.pick(targets.len() + 1));
        let mut batch = self.index.batch(false);
        batch.accepted(&event, &targets, &skipped, location(), 42);
        batch.commit(None).unwrap();
        let accepted = targets.iter().map(|to| (*to, Delivery::accepted(id.created_at())));
        for (ordinal, ((webhook, version), delivery)) in
            (0..).zip(accepted.chain(skipped.iter().map(|to| (*to, Delivery::skipped()))))
        {
            self.rows
                .insert(DeliveryId { event: id, ordinal }, Row { webhook, version, delivery, attempts: Vec::new() });
        }
        self.events.insert(id, event);
    }

    fn attempt(&mut self, id: DeliveryId) {
        let code = [0, 200, 404, 500, 503][self.pick(5)];
        let row = self.rows.get_mut(&id).unwrap();
        if row.delivery.due_at().is_none() {
            row.delivery = row.delivery.resend(START);
        }
        let outcome = Outcome {
            result: if code == 0 { Err(ErrorKind::Reset) } else { Ok(code) },
            duration: Duration::from_millis(5),
            phases: Phases::default(),
            peer: None,
            retry_after: None,
        };
        row.delivery = row.delivery.record(&outcome, &PLAN, 0.0, START).delivery;
        let number = row.delivery.attempts_made();
        row.attempts.push(Attempt { number, trigger: Trigger::Automatic, started_at: START, outcome });
        let mut batch = self.index.batch(false);
        batch.attempted(id, 1, row.attempts.last().unwrap(), &row.delivery).unwrap();
        batch.commit(None).unwrap();
    }

    fn carry(&self, event: &Event) {
        let of_event = self.rows.range(DeliveryId { event: event.id, ordinal: 0 }..);
        let rows: Vec<_> = of_event
            .take_while(|(id, _)| id.event == event.id)
            .map(|(_, row)| ((row.webhook, row.version), row.delivery, &row.attempts[..]))
            .collect();
        let mut batch = self.index.batch(false);
        batch.carried(event, &rows, location(), 42).unwrap();
        batch.commit(None).unwrap();
    }

    fn forget(&mut self, id: EventId) {
        self.events.remove(&id);
        self.rows.retain(|row, _| row.event != id);
    }

    /// Events over five days; the first day is gone but for what was carried, some of the second
    /// were carried while the rest of it is there, and one is in both places.
    fn new(seed: u64, folder: &std::path::Path) -> Self {
        let index = Index::open(folder, 4 << 20).unwrap();
        let chance = Random::seeded(seed);
        let mut model = Self { index, chance, events: BTreeMap::new(), rows: BTreeMap::new() };
        let mut ids = EventIds::default();
        let mut now = START;
        while now < START.plus(5 * DAY) {
            let id = ids.next(now, model.chance.bits());
            model.accept(id);
            now = now.plus(Duration::from_mins(model.pick(120) as u64));
        }
        for _ in 0..300 {
            let place = model.pick(model.rows.len());
            let id = *model.rows.keys().nth(place).unwrap();
            model.attempt(id);
        }
        let (first, second) = (START.day(), START.plus(DAY).day());
        let events: Vec<Event> = model.events.values().cloned().collect();
        let mut is_twice = false;
        for event in events {
            let day = event.id.created_at().day();
            if day == first && model.pick(2) == 0 {
                model.forget(event.id);
            } else if day == first || day == second && model.pick(3) == 0 {
                model.carry(&event);
            } else if day == second && !is_twice && model.rows.keys().all(|id| id.event != event.id) {
                is_twice = true;
                model.carry(&event);
                let mut batch = model.index.batch(true);
                batch.accepted(&event, &[], &[], location(), 42);
                batch.commit(None).unwrap();
            }
        }
        assert!(is_twice);
        model.index.drop_day(first).unwrap();
        // The clock was set back: among the carried ones there is a day of its own again.
        for number in 0..5 {
            let id = EventIds::default().next(START.plus(Duration::from_mins(37 * number)), model.chance.bits());
            model.accept(id);
        }
        model
    }

    fn matches_event(query: &Query, event: &Event) -> bool {
        let at = event.id.created_at();
        query.event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
            && query
                .reference
                .as_ref()
                .is_none_or(|wanted| event.references.as_slice().iter().any(|one| one.starts_with(wanted)))
            && query.since.is_none_or(|since| at >= since)
            && query.until.is_none_or(|until| at < until)
    }

    fn matches(&self, query: &Query, id: DeliveryId, row: &Row) -> bool {
        let last = row.attempts.last().map(|last| last.outcome.code());
        let state = match row.delivery.state() {
            State::Pending if query.deleted_webhooks.contains(&row.webhook) => State::Cancelled,
            state => state,
        };
        Self::matches_event(query, &self.events[&id.event])
            && query.webhook.is_none_or(|wanted| wanted == row.webhook)
            && query.state.is_none_or(|wanted| wanted == state)
            && query.code.is_none_or(|wanted| last == Some(wanted))
            && (query.classes.is_empty() || last.is_some_and(|code| query.classes.contains(&Class::of(code))))
    }

    fn query(&self) -> Query {
        let maybe = |of: usize| self.pick(of) == 0;
        let mut query = Query::default();
        if maybe(3) {
            query.reference = Some(["ref-07", "ref-1", "r", "own-5", "nobody"][self.pick(5)].to_owned());
        }
        query.webhook = maybe(4).then(|| webhook(self.pick(4)));
        query.event_type = maybe(4).then(|| TYPES[self.pick(2)].to_owned());
        query.state = maybe(4)
            .then(|| [State::Pending, State::Delivered, State::Failed, State::Cancelled, State::Skipped][self.pick(5)]);
        query.code = maybe(6).then(|| [0, 200, 404][self.pick(3)]);
        query.classes = if maybe(4) { vec![Class::NoResponse, Class::ServerError] } else { Vec::new() };
        query.deleted_webhooks = if maybe(3) { vec![webhook(1)] } else { Vec::new() };
        let instant = || START.plus(Duration::from_mins(self.pick(5 * 24 * 60) as u64));
        query.since = maybe(4).then(instant);
        query.until = maybe(4).then(instant);
        query
    }

    /// Everything beyond `from`, page by page.
    fn walk(
        &self,
        query: &Query,
        from: Option<DeliveryId>,
        order: Order,
        limit: usize,
        budget: usize,
    ) -> Vec<DeliveryId> {
        let (mut rows, mut from) = (Vec::new(), from);
        loop {
            let page = self.index.deliveries(query, Walk { from, order, limit, budget }, |_| true).unwrap();
            assert!(page.rows.len() <= limit);
            for found in &page.rows {
                let row = &self.rows[&found.id];
                assert_eq!((&found.delivery, found.webhook), (&row.delivery, row.webhook), "{}", found.id);
            }
            rows.extend(page.rows.iter().map(|found| found.id));
            match page.next {
                Some(next) => from = Some(next),
                None => return rows,
            }
        }
    }

    fn walk_events(&self, query: &Query, from: Option<DeliveryId>, order: Order, limit: usize) -> Vec<EventId> {
        let (mut rows, mut from) = (Vec::new(), from);
        loop {
            let page = self.index.events(query, Walk { from, order, limit, budget: 7 }).unwrap();
            assert!(page.rows.len() <= limit);
            rows.extend(page.rows.iter().map(|found| found.event.id));
            match page.next {
                Some(next) => from = Some(next),
                None => return rows,
            }
        }
    }

    fn check(&self, query: &Query, from: Option<DeliveryId>, limit: usize, budget: usize) -> usize {
        let wanted = |newer: bool| {
            let beyond = move |id: DeliveryId| from.is_none_or(|from| if newer { id > from } else { id < from });
            let rows = self.rows.iter().filter(move |(id, row)| beyond(**id) && self.matches(query, **id, row));
            rows.map(|(id, _)| *id)
        };
        let told = format!("{query:?} from {from:?}, {limit} of {budget}");
        let oldest = self.walk(query, from, Order::OldestFirst, limit, budget);
        assert_eq!(oldest, wanted(true).collect::<Vec<_>>(), "oldest first, {told}");
        let newest = self.walk(query, from, Order::NewestFirst, limit, budget);
        assert_eq!(newest, wanted(false).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>(), "{told}");
        let wanted = |newer: bool| {
            let event = from.map(|from| from.event);
            let beyond = move |id: EventId| event.is_none_or(|event| if newer { id > event } else { id < event });
            let events =
                self.events.iter().filter(move |(id, event)| beyond(**id) && Self::matches_event(query, event));
            events.map(|(id, _)| *id)
        };
        let oldest = self.walk_events(query, from, Order::OldestFirst, limit);
        assert_eq!(oldest, wanted(true).collect::<Vec<_>>(), "events, oldest first, {told}");
        let newest = self.walk_events(query, from, Order::NewestFirst, limit);
        assert_eq!(newest, wanted(false).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>(), "events, {told}");
        oldest.len()
    }
}

#[test]
fn both_directions_show_the_same_rows_from_anywhere() {
    let mut shown = 0;
    for seed in 1..=6 {
        let folder = tempfile::tempdir().unwrap();
        let model = Model::new(seed, &folder.path().join("index"));
        assert_eq!(model.index.days().len(), 6, "five days and a late one");
        model.check(&Query::default(), None, 10, 37);
        for _ in 0..60 {
            let from = match model.pick(4) {
                0 => None,
                1 => model.rows.keys().nth(model.pick(model.rows.len())).copied(),
                2 => {
                    let event = *model.events.keys().nth(model.pick(model.events.len())).unwrap();
                    Some([Order::NewestFirst, Order::OldestFirst][model.pick(2)].behind(event))
                }
                // A row that is not there, and a place that another one's list stopped at.
                _ => {
                    let at = START.plus(Duration::from_mins(model.pick(6 * 24 * 60) as u64));
                    Some(DeliveryId { event: EventId::first_at(at), ordinal: 2 })
                }
            };
            let (limit, budget) = ([1, 2, 7, 500][model.pick(4)], [1, 5, 20_000][model.pick(3)]);
            shown += model.check(&model.query(), from, limit, budget);
        }
    }
    assert!(shown > 1_000, "the filters let something through: {shown}");
}

/// A beginning that too many references of a day share is looked for in the day's log instead.
#[test]
fn a_reference_that_many_share_is_found_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index"), 16 << 20).unwrap();
    let mut ids = EventIds::default();
    let mut expected = Vec::new();
    let mut batch = index.batch(false);
    for number in 0..4_300_u32 {
        let id = ids.next(START.plus(Duration::from_millis(u64::from(number))), 1);
        let reference = if number % 50 == 7 { "other" } else { "many" };
        let event = Event {
            id,
            event_type: TYPES[0].to_owned(),
            content_type: "application/json".to_owned(),
            scan_ref: None,
            references: References::from(vec![format!("{reference}-{number}")]),
            token: "t".to_owned(),
            idempotency: None,
            trace: None,
        };
        batch.accepted(&event, &[(webhook(1), 1)], &[], location(), 1);
        expected.extend((reference == "many").then_some(DeliveryId { event: id, ordinal: 0 }));
    }
    batch.commit(None).unwrap();
    let query = Query { reference: Some("many".to_owned()), ..Query::default() };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let (mut rows, mut from) = (Vec::new(), None);
        loop {
            let page = index.deliveries(&query, Walk { from, order, limit: 300, budget: 1_000 }, |_| true).unwrap();
            rows.extend(page.rows.iter().map(|found| found.id));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(rows, expected);
        expected.reverse();
    }
}

#[test]
fn the_socket_walks_in_both_directions() {
    let daemon = Daemon::start("");
    for name in ["one", "two"] {
        let hook =
            serde_json::json!({"name": name, "url": "http://127.0.0.1:9/", "event_types": ["*"], "paused": true});
        assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
    }
    for number in 0..9 {
        let type_name = ["SOS_REPORT", "ACCOUNT_CHECK"][number % 2];
        let payload = format!("{{\"scanRef\":\"s-{number}\",\"word\":\"w{}\"}}", number % 3);
        assert_eq!(daemon.post(&format!("/v1/events/{type_name}"), &payload).status, 202);
    }
    let walk = |list: &str, query: &str| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let begin = if cursor.is_empty() {
                query.to_owned()
            } else {
                let kept: Vec<&str> = query.split('&').filter(|one| !one.starts_with("from=")).collect();
                format!("{}&cursor={cursor}", kept.join("&"))
            };
            let answer = daemon.admin(&format!("GET /v1/{list}?limit=2&{begin}"), "");
            assert_eq!(answer.status, 200, "{begin}: {answer:?}");
            let page = answer.json();
            ids.extend(page["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
            match page["cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return ids,
            }
        }
    };
    let all = walk("deliveries", "");
    assert_eq!(all.len(), 18);
    let events = walk("events", "order=newest");
    assert_eq!(events.len(), 9);
    for (list, all) in [("deliveries", &all), ("events", &events)] {
        for filter in ["", "&ref=s-", "&type=SOS_REPORT"] {
            let mut oldest = walk(list, &format!("order=oldest{filter}"));
            oldest.reverse();
            assert_eq!(oldest, walk(list, &format!("order=newest{filter}")), "{list} {filter}");
        }
        for (place, row) in all.iter().enumerate() {
            assert_eq!(walk(list, &format!("from={row}")), all[place + 1..], "{list}");
            let mut newer = walk(list, &format!("order=oldest&from={row}"));
            newer.reverse();
            assert_eq!(newer, all[..place], "{list}");
        }
    }
    for filter in ["q=w1", "webhook=two", "state=pending", "webhook=one&q=W2&type=SOS_REPORT"] {
        let mut oldest = walk("deliveries", &format!("order=oldest&{filter}"));
        oldest.reverse();
        assert!(!oldest.is_empty());
        assert_eq!(oldest, walk("deliveries", filter), "{filter}");
    }
    // The id of an event begins beyond all of its deliveries, that of a delivery beyond its event.
    assert_eq!(walk("deliveries", &format!("from={}", events[3])), all[8..]);
    assert_eq!(walk("deliveries", &format!("order=oldest&from={}", events[3])).len(), 6);
    assert_eq!(walk("events", &format!("from={}", all[6])), events[4..]);
    let cursor = daemon.admin("GET /v1/deliveries?limit=1", "").json()["cursor"].as_str().unwrap().to_owned();
    for wrong in ["order=up", "from=wh_x", "from=dlv_1", &format!("from={}&cursor={cursor}", all[0])] {
        for list in ["deliveries", "events"] {
            assert_eq!(daemon.admin(&format!("GET /v1/{list}?{wrong}"), "").status, 400, "{wrong}");
        }
    }
}
