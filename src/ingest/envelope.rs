//! From bytes to a posted event: the JSON envelope, CloudEvents 1.0, batches, and the references
//! inside a payload. Pure; never panics, whatever the bytes are.
//!
//! Payload bytes are cut out of the request as they are, never written anew: a receiver checks a
//! signature over exactly what the application posted.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Rejection, percent_decode};
use crate::domain::event::Idempotency;
use crate::domain::references::{PAYLOAD_FIELDS, References};
use crate::domain::trace_context::TraceContext;

/// Deeper JSON is refused: receivers with recursive parsers would fall over it.
const DEPTH_MAX: usize = 64;

/// A posted event, taken out of whatever it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// As posted; not looked up yet.
    pub event_type: String,
    /// The media type of the payload.
    pub content_type: String,
    /// The payload's bytes.
    pub payload: Bytes,
    /// References that the app passed beside the payload.
    pub references: Vec<String>,
    /// The app's key against posting twice.
    pub idempotency_key: Option<String>,
    /// The trace that it names itself.
    pub trace: Option<TraceContext>,
}

/// Makes a [`Parsed`] of a body that is the payload itself.
#[derive(Debug)]
pub struct Posted;

impl Posted {
    /// The body is the payload.
    #[expect(clippy::new_ret_no_self, reason = "a name for one of the ways an event is posted")]
    #[must_use]
    pub fn new(event_type: String, content_type: String, payload: Bytes, idempotency_key: Option<String>) -> Parsed {
        Parsed { event_type, content_type, payload, references: Vec::new(), idempotency_key, trace: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    references: Vec<String>,
}

/// `{"type": …, "payload": …, "id"?: …, "references"?: […]}`. The `id` is the app's own: it is a
/// reference, and the idempotency key unless a header says otherwise.
///
/// # Errors
/// What is wrong, with line and column.
pub fn parse_envelope(body: &[u8]) -> Result<Parsed, String> {
    let text = as_text(body)?;
    let envelope: Envelope<'_> = object(text)?;
    let mut references = envelope.references;
    let mut idempotency_key = None;
    if let Some(id) = envelope.id.filter(|id| !id.is_empty()) {
        idempotency_key = Some(bounded_key(&id));
        references.push(id.into_owned());
    }
    Ok(Parsed {
        event_type: envelope.event_type.into_owned(),
        content_type: "application/json".to_owned(),
        payload: cut_out(envelope.payload),
        references,
        idempotency_key,
        trace: None,
    })
}

/// A JSON object as a struct, which would else be made of an array of its values as well.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    if text.trim_start().starts_with('[') {
        return Err("it has to be a JSON object, not an array (line 1, column 1)".to_owned());
    }
    serde_json::from_str(text).map_err(|error| json_error(&error))
}

/// The bytes of a payload as they stand there. Copied: a part of the request would keep all of it in memory for as long as the
/// payload is there, and what is around it can be ten thousand times as large.
fn cut_out(payload: &RawValue) -> Bytes {
    Bytes::copy_from_slice(payload.get().as_bytes())
}

/// The CloudEvents attributes that mean something here; others are allowed and not passed on.
#[derive(Deserialize)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow, default)]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Data<'a>,
    #[serde(borrow, default)]
    data_base64: Option<Cow<'a, str>>,
    /// Of the extension for distributed tracing. An attribute of this name that is no text is another's.
    #[serde(borrow, default)]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tracestate: Option<&'a RawValue>,
}

/// `null` is data as well; only when it is left out there is none.
#[derive(Default)]
struct Data<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(from).map(|raw| Self(Some(raw)))
    }
}

/// A CloudEvent in structured mode.
///
/// # Errors
/// What is wrong, with line and column.
pub fn parse_structured(body: &[u8]) -> Result<Parsed, String> {
    let text = as_text(body)?;
    let event: CloudEvent<'_> = object(text)?;
    let payload = match (event.data.0, event.data_base64) {
        (Some(data), None) => cut_out(data),
        (None, Some(encoded)) => {
            let decoded = STANDARD.decode(encoded.as_bytes());
            decoded.map(Bytes::from).map_err(|error| format!("data_base64 is not base64: {error}"))?
        }
        (Some(_), Some(_)) => return Err("a CloudEvent has data or data_base64, not both".to_owned()),
        (None, None) => return Err("this CloudEvent has no data, so there is nothing to deliver".to_owned()),
    };
    check_attributes(&event.specversion, &event.id, &event.source)?;
    let content_type = event.datacontenttype.map_or_else(|| "application/json".to_owned(), Cow::into_owned);
    check_content_type(&content_type)?;
    Ok(Parsed {
        event_type: event.event_type.into_owned(),
        content_type,
        payload,
        references: event.subject.map(Cow::into_owned).into_iter().collect(),
        idempotency_key: Some(cloudevent_key(&event.source, &event.id)),
        trace: trace_of(event.traceparent, event.tracestate),
    })
}

/// A CloudEvent in binary mode: the attributes are headers, the body is the data.
///
/// # Errors
/// What is wrong.
pub fn parse_cloudevent_headers(headers: &HeaderMap, content_type: String, body: Bytes) -> Result<Parsed, String> {
    let attribute = |name: &str| {
        let value = headers.get(format!("ce-{name}")).map(|value| value.to_str().map(percent_decode));
        value.transpose().map_err(|_| format!("the header ce-{name} is not text"))
    };
    let required = |name: &str| attribute(name)?.ok_or_else(|| format!("the header ce-{name} is missing"));
    let (id, source) = (required("id")?, required("source")?);
    check_attributes(&required("specversion")?, &id, &source)?;
    check_content_type(&content_type)?;
    Ok(Parsed {
        event_type: required("type")?,
        content_type,
        payload: body,
        references: attribute("subject")?.into_iter().collect(),
        idempotency_key: Some(cloudevent_key(&source, &id)),
        trace: TraceContext::parse(
            &attribute("traceparent")?.unwrap_or_default(),
            &attribute("tracestate")?.unwrap_or_default(),
        ),
    })
}

fn trace_of(parent: Option<&RawValue>, state: Option<&RawValue>) -> Option<TraceContext> {
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    TraceContext::parse(&parent.and_then(text)?, &state.and_then(text).unwrap_or_default())
}

/// The events of a batch, each with what is wrong with it.
///
/// # Errors
/// When the whole is not a batch.
pub fn parse_batch(
    media_type: &str,
    body: &Bytes,
    events_max: usize,
) -> Result<Vec<Result<Parsed, String>>, Rejection> {
    let too_many = || Rejection::Malformed(format!("a batch holds at most {events_max} events"));
    match media_type {
        "application/x-ndjson" | "application/jsonl" | "application/ndjson" => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            let parsed: Vec<_> = lines.take(events_max + 1).map(|line| parse_envelope(line.trim_ascii())).collect();
            if parsed.len() > events_max { Err(too_many()) } else { Ok(parsed) }
        }
        "application/cloudevents-batch+json" => {
            let text = as_text(body).map_err(Rejection::Malformed)?;
            let elements: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|error| Rejection::Malformed(json_error(&error)))?;
            if elements.len() > events_max {
                return Err(too_many());
            }
            let parse = |element: &&RawValue| parse_structured(element.get().as_bytes());
            Ok(elements.iter().map(parse).collect())
        }
        _ => Err(Rejection::MediaType("application/x-ndjson or application/cloudevents-batch+json")),
    }
}

/// `scanRef` and all references inside a payload, which must be JSON and not too deep.
///
/// # Errors
/// What is wrong, with line and column.
pub fn references_of(payload: &[u8]) -> Result<(Option<String>, References), String> {
    let text = as_text(payload)?;
    check_depth(text)?;
    let found: Found = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    let mut references = References::default();
    for (place, field) in PAYLOAD_FIELDS.iter().enumerate() {
        references.add(found.fields[place].as_deref().unwrap_or_default());
        if *field == "scanRef" {
            found.list.iter().for_each(|reference| references.add(reference));
        }
    }
    let [scan_ref, ..] = found.fields;
    Ok((scan_ref.filter(|scan_ref| !scan_ref.is_empty()), references))
}

fn as_text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
        format!("the body is not UTF-8: line {line} column {column}")
    })
}

fn json_error(error: &serde_json::Error) -> String {
    // serde_json's text ends with "at line L column C".
    format!("the body is not what it should be: {error}")
}

/// Counts brackets outside of texts.
fn check_depth(text: &str) -> Result<(), String> {
    let (mut depth, mut rest) = (0_usize, text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = behind_text(after),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!("the payload is nested more than {DEPTH_MAX} deep"));
        }
    }
    Ok(())
}

/// What follows the text whose opening quote was just passed. Most of a payload is in texts.
fn behind_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let is_end = rest.get(at) == Some(&b'"');
        rest = rest.get(at + if is_end { 1 } else { 2 }..).unwrap_or_default();
        if is_end {
            return rest;
        }
    }
    &[]
}

fn check_attributes(specversion: &str, id: &str, source: &str) -> Result<(), String> {
    if specversion != "1.0" {
        return Err("specversion must be \"1.0\"".to_owned());
    }
    if id.is_empty() || source.is_empty() {
        return Err("id and source of a CloudEvent may not be empty".to_owned());
    }
    Ok(())
}

/// Whether a media type, with or without parameters, says that a payload is JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// It is sent on as a header.
fn check_content_type(content_type: &str) -> Result<(), String> {
    if content_type.len() <= 256 && http::HeaderValue::from_str(content_type).is_ok() {
        Ok(())
    } else {
        Err("datacontenttype is not a media type".to_owned())
    }
}

fn cloudevent_key(source: &str, id: &str) -> String {
    bounded_key(&format!("{source}\n{id}"))
}

/// A key that is too long is replaced by its hash, which is as unique.
fn bounded_key(key: &str) -> String {
    if key.len() <= Idempotency::KEY_LENGTH_MAX {
        key.to_owned()
    } else {
        format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(key.as_bytes())))
    }
}

/// What a payload says at its top level. Anything but an object has no references.
#[derive(Debug, Default)]
struct Found {
    fields: [Option<String>; PAYLOAD_FIELDS.len()],
    list: Vec<String>,
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FoundVisitor)
    }
}

struct FoundVisitor;

impl<'de> Visitor<'de> for FoundVisitor {
    type Value = Found;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if let Some(place) = PAYLOAD_FIELDS.iter().position(|field| *field == key) {
                found.fields[place] = map.next_value::<Reference>()?.0;
            } else if key == "scanRefList" {
                found.list = map.next_value::<ReferenceList>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::default())
    }
}

/// A text or a number; anything else is no reference, and no mistake either.
struct Reference(Option<String>);

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        Ok(Self(reference_from(raw)))
    }
}

struct ReferenceList(Vec<String>);

impl<'de> Deserialize<'de> for ReferenceList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        let list: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        Ok(Self(list.into_iter().take(References::COUNT_MAX).filter_map(reference_from).collect()))
    }
}

fn reference_from(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'0'..=b'9' | b'-' => Some(text.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn an_array_of_the_values_is_no_envelope() {
        for text in ["[\"SOS_REPORT\", {}]", " [\"SOS_REPORT\", {}, null, []]"] {
            assert!(parse_envelope(text.as_bytes()).is_err_and(|said| said.contains("object")), "{text}");
        }
        let event = "[\"1.0\", \"1\", \"/x\", \"SOS_REPORT\", null, null, {}, null]";
        assert!(parse_structured(event.as_bytes()).is_err_and(|said| said.contains("object")));
    }

    #[test]
    fn payload_bytes_are_cut_out_verbatim() {
        let body = bytes("{ \"payload\" : {\"b\": 1.0,  \"a\":\"\\u00e9\"}\n, \"type\":\"SOS_REPORT\", \"id\":\"k1\"}");
        let parsed = parse_envelope(&body).unwrap();
        assert_eq!(parsed.payload, "{\"b\": 1.0,  \"a\":\"\\u00e9\"}");
        assert_eq!((parsed.event_type.as_str(), parsed.idempotency_key.as_deref()), ("SOS_REPORT", Some("k1")));
        assert_eq!(parsed.references, ["k1"]);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases = [
            ("{\"type\":\"A\"}", "missing field `payload`"),
            ("{\"type\":\"A\",\n\"payload\":{]}", "line 2 column"),
            ("{\"type\":\"A\",\"payload\":1,\"extra\":2}", "unknown field `extra`"),
            ("{\"type\":\"A\",\"type\":\"B\",\"payload\":1}", "duplicate field"),
            ("", "line 1 column 0"),
        ];
        for (body, expected) in cases {
            let error = parse_envelope(&bytes(body)).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
        assert!(references_of(b"{\"a\":\"\xff\"}").unwrap_err().contains("line 1 column 7"));
        assert!(references_of(b"{} trailing").is_err());
    }

    #[test]
    fn references_of_every_kind_are_found() {
        let payload = br#"{"id":7,"scanRef":"s1","scanRefList":["s1","s2",3,null],"clientId":"c","companyId":"",
            "externalRef":null,"monitoringId":{"x":1},"nested":{"scanRef":"no"}}"#;
        let (scan_ref, references) = references_of(payload).unwrap();
        assert_eq!(scan_ref.as_deref(), Some("s1"));
        assert_eq!(references.as_slice(), ["s1", "s2", "3", "c", "7"]);
        for plain in ["1", "\"x\"", "[1,[2]]", "null", "true", "-1.5e3", "18446744073709551616"] {
            assert_eq!(references_of(plain.as_bytes()).unwrap().1.as_slice().len(), 0, "{plain}");
        }
    }

    #[test]
    fn deep_payloads_are_refused_and_brackets_in_texts_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(references_of(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(references_of(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().contains("nested"));
        assert!(references_of(nested(1_000_000).as_bytes()).is_err());
        let text = format!("\"{}\\\"[\"", "[".repeat(500));
        assert!(references_of(text.as_bytes()).is_ok());
        // Quotes and backslashes in every order, before what is nested too deep and is no text.
        for before in [r#""""#, r#""\\""#, r#""\\\"""#, r#""a\"b""#, r#""\u0022[""#, r#""\\\\""#] {
            let deep = format!("[{before},{}]", nested(DEPTH_MAX));
            assert!(references_of(deep.as_bytes()).unwrap_err().contains("nested"), "{before}");
            assert!(references_of(format!("[{before},1]").as_bytes()).is_ok(), "{before}");
        }
    }

    #[test]
    fn cloudevents_in_both_modes_are_the_same_event() {
        let structured = parse_structured(&bytes(
            r#"{"specversion":"1.0","id":"a b","source":"/kyc","type":"SOS_REPORT","subject":"s-1","data":{"id":1},"ext":"x"}"#,
        ))
        .unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "a%20b"),
            ("ce-source", "/kyc"),
            ("ce-type", "SOS_REPORT"),
            ("ce-subject", "s-1"),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        let binary = parse_cloudevent_headers(&headers, "application/json".to_owned(), bytes("{\"id\":1}")).unwrap();
        assert_eq!(structured, binary);
        let base64 = parse_structured(&bytes(
            r#"{"specversion":"1.0","id":"1","source":"s","type":"T","data_base64":"eyJpZCI6MX0="}"#,
        ));
        assert_eq!(base64.unwrap().payload, "{\"id\":1}");
        let without = parse_structured(&bytes(r#"{"specversion":"1.0","id":"1","source":"s","type":"T"}"#));
        assert!(without.unwrap_err().contains("no data"));
    }

    #[test]
    fn each_line_of_a_batch_stands_alone() {
        let body = bytes("{\"type\":\"A\",\"payload\":1}\n\nnot json\r\n{\"type\":\"B\",\"payload\":2}");
        let parsed = parse_batch("application/x-ndjson", &body, 10).unwrap();
        assert_eq!(parsed.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert!(parse_batch("application/x-ndjson", &body, 2).is_err());
        assert!(parse_batch("text/plain", &body, 2).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = Bytes::from(body);
            let _ = (parse_envelope(&body), parse_structured(&body), references_of(&body));
            let _ = parse_batch("application/x-ndjson", &body, 10);
        }

        #[test]
        fn any_json_payload_keeps_its_bytes(text in "[ -~é🦀]{0,40}", number: f64) {
            let payload = serde_json::json!({"t": text, "n": number, "scanRef": text}).to_string();
            let body = Bytes::from(format!("{{\"type\":\"A\", \"payload\": {payload} }}"));
            prop_assert_eq!(&parse_envelope(&body).unwrap().payload, &payload);
        }
    }
}
