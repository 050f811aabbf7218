//! The place that a delivery takes among all that may be under way, lent to others while a name server is waited for.
//!
//! The lanes count; this only asks them. Its invariant: who lent a place gets on only with one of its own.

use std::pin::Pin;

use super::Dispatcher;
use crate::domain::id::DeliveryId;
use crate::egress::Slot;

/// The place of a delivery that is being attempted.
pub(super) struct Seat {
    pub(super) dispatcher: Dispatcher,
    pub(super) id: DeliveryId,
}

impl Slot for Seat {
    fn lend(&self) {
        if self.dispatcher.lanes().lend(self.id) {
            self.dispatcher.shared.place_freed.notify_one();
            self.dispatcher.shared.recheck.notify_one();
        }
    }

    fn take_back<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            loop {
                let mut freed = std::pin::pin!(self.dispatcher.shared.place_freed.notified());
                // From here on, a place that becomes free is not missed.
                freed.as_mut().enable();
                if self.dispatcher.lanes().take_back(self.id) {
                    // What of its webhook had to wait for that may begin now.
                    self.dispatcher.shared.recheck.notify_one();
                    return;
                }
                freed.await;
            }
        })
    }
}
