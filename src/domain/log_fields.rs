//! What of the log can be searched by: fields with fixed names, and the messages that have an id of their own.
//!
//! These are promises to whoever writes alerts on the log. Invariant: an id, once given, keeps its meaning and is given to
//! nothing else.

/// Name within the program, name in the journal, meaning.
pub const FIELDS: &[(&str, &str, &str)] = &[
    ("webhook", "POSTRIDER_WEBHOOK", "Name of the webhook, where it is known, else its id"),
    ("webhook_id", "POSTRIDER_WEBHOOK_ID", "Id of the webhook"),
    ("delivery", "POSTRIDER_DELIVERY", "Id of the delivery"),
    ("event", "POSTRIDER_EVENT", "Id of the event"),
    ("code", "POSTRIDER_CODE", "Code that the receiver answered; 0 when it did not"),
    ("error", "POSTRIDER_ERROR", "What went wrong"),
    ("number", "POSTRIDER_TRY", "Number of the attempt"),
];

/// Id (`MESSAGE_ID`), what it says, and how its text begins.
pub const MESSAGES: &[(&str, &str, &str)] = &[
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c001", "The daemon is ready", "postrider "),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c002", "The daemon stops", "stopping"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c003", "A delivery failed for good", "a delivery failed for good"),
    (
        "5b0d0c6f3a7e4c41a5f2f5b1d8a3c004",
        "A receiver answered 410: its webhook is paused",
        "the receiver answered 410 Gone",
    ),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c005", "Too little room: new events are refused", "too little room on the disk"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c006", "There is room again", "there is room on the disk again"),
    (
        "5b0d0c6f3a7e4c41a5f2f5b1d8a3c007",
        "The journal failed: nothing is accepted any more",
        "writing the journal failed",
    ),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c008", "The journal was damaged", "damage in the journal"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c009", "The index was damaged and is built anew", "the index was moved aside"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c00a", "The configuration was read again", "the configuration was read again"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c00b", "A changed configuration is refused", "reload refused"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c00c", "The mail server can not be used", "the mail server can not be used"),
    ("5b0d0c6f3a7e4c41a5f2f5b1d8a3c00d", "A day of deliveries is past its time", "a day is past its time"),
];

/// The name in the journal of a field that has one.
#[must_use]
pub fn journal_name(field: &str) -> Option<&'static str> {
    FIELDS.iter().find(|(name, _, _)| *name == field).map(|(_, name, _)| *name)
}

/// The id of a message that has one.
#[must_use]
pub fn message_id(text: &str) -> Option<&'static str> {
    MESSAGES.iter().find(|(_, _, begin)| text.starts_with(begin)).map(|(id, _, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_the_form_that_the_journal_takes_and_belong_to_one_message_each() {
        for (place, (id, _, begin)) in MESSAGES.iter().enumerate() {
            assert!(id.len() == 32 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{id}");
            assert!(MESSAGES[..place].iter().all(|(other, _, text)| other != id && !begin.starts_with(text)), "{id}");
        }
        assert_eq!(message_id("a delivery failed for good"), Some("5b0d0c6f3a7e4c41a5f2f5b1d8a3c003"));
        assert_eq!(message_id("delivered"), None);
        assert_eq!((journal_name("number"), journal_name("linger")), (Some("POSTRIDER_TRY"), None));
    }
}
