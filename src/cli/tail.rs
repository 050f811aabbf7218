//! `postrider delivery tail`: deliveries and their changes as they come.
//!
//! It looks again and again, so what changes twice between two looks is shown once, and it
//! watches the newest deliveries only.
//!
//! Invariant: a delivery is shown when it is new and when what is shown of it changed, never
//! otherwise.

use std::collections::HashMap;
use std::time::Duration;

use super::delivery::{self, Filter, Range};
use super::{Ended, Failure, Session};
use crate::admin::client::{Client, ClientError, DeliveryFilter};
use crate::admin::protocol::DeliveryView;

/// How many of the newest are watched.
const WATCHED: usize = 300;
/// How many are shown at the start.
const SHOWN_FIRST: usize = 10;
/// Looking more often would be a load and show nothing more.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

pub(super) async fn run(session: &mut Session<'_>, filter: &Filter, interval: Duration) -> Ended {
    let filter = delivery::wanted(session, filter, &Range::default())?;
    let client = session.client().await?;
    follow(session, &client, &filter, interval).await
}

/// Shows what changes until something fails or whoever waits for this stops waiting.
pub(super) async fn follow(
    session: &mut Session<'_>,
    client: &Client,
    filter: &DeliveryFilter,
    interval: Duration,
) -> Ended {
    let mut seen = Seen::default();
    let mut table = delivery::table();
    let first = seen.changed(newest(client, filter).await?);
    let from = first.len().saturating_sub(SHOWN_FIRST);
    delivery::print_rows(session, &mut table, &first[from..])?;
    let mut lost = false;
    loop {
        tokio::time::sleep(interval.max(INTERVAL_MIN)).await;
        match newest(client, filter).await {
            Ok(deliveries) => {
                if std::mem::take(&mut lost) {
                    session.output.note("the daemon answers again");
                }
                let changed = seen.changed(deliveries);
                delivery::print_rows(session, &mut table, &changed)?;
            }
            // A daemon that is restarted is what somebody may be watching for.
            Err(error @ ClientError::Unreachable { .. }) => {
                if !std::mem::replace(&mut lost, true) {
                    session.output.note(&format!("{error}; trying again"));
                }
            }
            Err(error) => return Err(Failure::from(error)),
        }
    }
}

/// The newest deliveries, oldest first.
async fn newest(client: &Client, filter: &DeliveryFilter) -> Result<Vec<DeliveryView>, ClientError> {
    // A filter that matches little gives short pages; what they searched was older than what
    // can be new, so a few pages are enough.
    const PAGES_MAX: usize = 5;
    let mut deliveries: Vec<DeliveryView> = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = client.deliveries(filter, 100, cursor.as_deref()).await?;
        deliveries.extend(page.items);
        cursor = page.cursor;
        if cursor.is_none() || deliveries.len() >= WATCHED {
            break;
        }
    }
    deliveries.truncate(WATCHED);
    deliveries.reverse();
    Ok(deliveries)
}

/// What was shown of each delivery.
#[derive(Default)]
struct Seen(HashMap<String, (String, u16, Option<u16>, Option<String>)>);

impl Seen {
    /// Those that are new or changed; what is not among `deliveries` is forgotten.
    fn changed(&mut self, deliveries: Vec<DeliveryView>) -> Vec<DeliveryView> {
        let mut now = HashMap::with_capacity(deliveries.len());
        let mut changed = Vec::new();
        for delivery in deliveries {
            let shown =
                (delivery.state.clone(), delivery.attempts_made, delivery.last_code, delivery.last_error.clone());
            if self.0.get(&delivery.id) != Some(&shown) {
                changed.push(delivery.clone());
            }
            now.insert(delivery.id, shown);
        }
        self.0 = now;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: &str, state: &str, attempts_made: u16) -> DeliveryView {
        DeliveryView { id: id.to_owned(), state: state.to_owned(), attempts_made, ..DeliveryView::default() }
    }

    #[test]
    fn only_what_is_new_or_changed_is_shown() {
        let mut seen = Seen::default();
        let ids = |deliveries: Vec<DeliveryView>| deliveries.into_iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(seen.changed(vec![delivery("a", "pending", 0), delivery("b", "pending", 0)])), ["a", "b"]);
        assert!(seen.changed(vec![delivery("a", "pending", 0), delivery("b", "pending", 0)]).is_empty());
        assert_eq!(ids(seen.changed(vec![delivery("b", "delivered", 1), delivery("c", "pending", 0)])), ["b", "c"]);
    }
}
