//! How instants and ids stand in the queue's file: milliseconds and text. Domain types know no
//! format, so it is said here.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::domain::id::WebhookId;
use crate::domain::time::Timestamp;

pub(super) mod instant {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub(in crate::mail) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.millis())
    }

    pub(in crate::mail) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_millis)
    }
}

pub(super) mod instant_option {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub(in crate::mail) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_some(&at.millis()),
            None => to.serialize_none(),
        }
    }

    pub(in crate::mail) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Timestamp::from_millis))
    }
}

pub(super) mod instants {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub(in crate::mail) fn serialize<S: Serializer>(all: &[Timestamp], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|at| at.millis()))
    }

    pub(in crate::mail) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Timestamp>, D::Error> {
        Ok(Vec::<u64>::deserialize(from)?.into_iter().map(Timestamp::from_millis).collect())
    }
}

pub(super) mod webhook {
    use super::{Deserialize, Deserializer, Serializer, WebhookId, parse};

    pub(in crate::mail) fn serialize<S: Serializer>(id: &WebhookId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(in crate::mail) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WebhookId, D::Error> {
        parse::<D>(&String::deserialize(from)?)
    }
}

pub(super) mod by_webhook {
    use super::{BTreeMap, Deserialize, Deserializer, Serializer, WebhookId, parse};

    pub(in crate::mail) fn serialize<S: Serializer, T: serde::Serialize>(
        map: &BTreeMap<WebhookId, T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(id, value)| (id.to_string(), value)))
    }

    pub(in crate::mail) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        from: D,
    ) -> Result<BTreeMap<WebhookId, T>, D::Error> {
        let raw = BTreeMap::<String, T>::deserialize(from)?;
        raw.into_iter().map(|(id, value)| Ok((parse::<D>(&id)?, value))).collect()
    }
}

fn parse<'de, D: Deserializer<'de>>(text: &str) -> Result<WebhookId, D::Error> {
    WebhookId::parse(text).ok_or_else(|| D::Error::custom("not the id of a webhook"))
}
