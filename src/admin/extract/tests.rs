//! Strict reading: of bodies, parameters and fields. What holds is read, what does not is named, nothing panics.

use axum::http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::admin::problem::FieldError;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    count: Option<u32>,
    inner: Option<Inner>,
    list: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    deep: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    q: Option<String>,
    limit: Option<u32>,
    stale: Option<bool>,
}

fn refused(body: &str) -> (u16, Vec<FieldError>) {
    let problem = json::<Sample>(body.as_bytes()).unwrap_err();
    (problem.status().as_u16(), problem.errors().to_vec())
}

fn field(name: &str, detail: &str) -> Vec<FieldError> {
    vec![FieldError { field: name.to_owned(), detail: detail.to_owned() }]
}

#[test]
fn what_holds_is_read() {
    let read: Sample = json(br#" {"name":"a","inner":{"deep":true},"count":null,"list":[1]} "#).unwrap();
    let inner = Some(Inner { deep: true });
    assert_eq!(read, Sample { name: "a".to_owned(), count: None, inner, list: Some(vec![1]) });
}

#[test]
fn text_that_is_no_json_is_400_with_its_place() {
    for (body, place) in [
        ("", "line 1, column 0"),
        ("{", "line 1, column 1"),
        ("{\"name\":\n tru}", "line 2, column 5"),
        ("{\"name\":\"a\",}", "line 1, column 13"),
        ("{\"name\":\"a\"} x", "line 1, column 14"),
        ("{\"name\":\"\u{1}\"}", "line 1, column 9"),
        ("{\"name\":01}", "line 1, column 10"),
        ("{\"unknown\":1,", "line 1, column 13"),
        ("nul", "line 1, column 3"),
    ] {
        let problem = json::<Sample>(body.as_bytes()).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.name()), (400, "malformed-json"), "{body:?}");
        assert!(format!("{problem:?}").contains(place), "{body:?} {problem:?}");
    }
    assert_eq!(json::<Sample>(b"{\"name\":\"\xff\"}").unwrap_err().status(), 400);
    assert_eq!(json::<Sample>(b"{\"name\":\"\\ud800\"}").unwrap_err().status(), 400);
    assert_eq!(json::<Sample>("[".repeat(10_000).as_bytes()).unwrap_err().status(), 400);
    let problem = json::<Sample>(b"{\"inner\":{\"deep\":tru}}").unwrap_err();
    assert_eq!(problem.errors().first().map(|error| error.field.as_str()), Some("inner.deep"));
}

#[test]
fn json_that_is_something_else_is_422_with_its_field() {
    assert_eq!(refused("{}"), (422, field("name", "is missing")));
    let known = "is not known; expected one of `name`, `count`, `inner`, `list`";
    assert_eq!(refused(r#"{"name":"a","nmae":1}"#), (422, field("nmae", known)));
    assert_eq!(refused(r#"{"name":"a","name":"b"}"#), (422, field("name", "is there twice")));
    assert_eq!(refused(r#"{"name":7}"#), (422, field("name", "expected a string")));
    assert_eq!(refused(r#"{"name":"a","count":-1}"#), (422, field("count", "expected u32")));
    assert_eq!(refused(r#"{"name":"a","inner":{}}"#), (422, field("inner.deep", "is missing")));
    assert_eq!(refused(r#"{"name":"a","inner":{"x":1}}"#), (422, field("inner.x", "is not known; expected `deep`")));
    assert_eq!(refused(r#"{"name":"a","list":[1,999]}"#), (422, field("list[1]", "expected u8")));
    assert_eq!(refused("[]").0, 422);
    assert_eq!(refused("null").0, 422);
}

#[test]
fn no_refusal_repeats_a_value() {
    let secret = format!("kgo_0123456789ab_{}", "Zz0".repeat(14) + "Z");
    for body in [
        json!({ "name": 7, "count": secret }),
        json!({ "name": [secret] }),
        json!({ "name": "a", "count": secret }),
        json!({ "name": "a", "inner": secret }),
        json!({ "name": "a", &secret: 1 }),
        json!({ "name": "a", "inner": { &secret: 1 } }),
        json!(secret),
    ] {
        let problem = json::<Sample>(body.to_string().as_bytes()).unwrap_err();
        assert!(!format!("{problem:?}").contains(&secret), "{problem:?}");
    }
    let broken = format!("{{\"name\":{{\"{secret}\":tru}}}}");
    assert!(!format!("{:?}", json::<Sample>(broken.as_bytes()).unwrap_err()).contains(&secret));
    for query in [format!("limit={secret}"), format!("{secret}=1"), format!("stale={secret}")] {
        let problem = parameters::<Query>(&query).unwrap_err();
        assert!(!format!("{problem:?}").contains(&secret), "{problem:?}");
    }
}

#[test]
fn only_json_in_utf_8_is_a_body() {
    let is = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
        }
        is_json(&headers)
    };
    assert!(is(&["application/json"]) && is(&["Application/JSON; charset=\"UTF-8\""]) && is(&["application/json;"]));
    for odd in ["text/plain", "application/jsonp", "application/json; charset=latin1", "application/x-json", ""] {
        assert!(!is(&[odd]), "{odd}");
    }
    assert!(!is(&[]) && !is(&["application/json", "application/json"]));
}

#[test]
fn parameters_are_read_by_their_type() {
    let read: Query = parameters("q=a%20b%2Bc+d&limit=7&stale=true").unwrap();
    assert_eq!(read, Query { q: Some("a b+c d".to_owned()), limit: Some(7), stale: Some(true) });
    assert_eq!(parameters::<Query>("").unwrap(), Query { q: None, limit: None, stale: None });
    assert_eq!(parameters::<Query>("q=%C3%A4").unwrap().q.as_deref(), Some("ä"));
}

#[test]
fn parameters_that_do_not_hold_are_named() {
    for (query, name) in [
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("stale=yes", "stale"),
        ("q=a&q=b", "q"),
        ("page=2", "page"),
        ("q=%", "q"),
        ("q=%f", "q"),
        ("q=%ff", "q"),
        ("limit=1&Limit=2", "Limit"),
    ] {
        let problem = parameters::<Query>(query).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.name()), (422, "invalid-request"), "{query}");
        assert_eq!(problem.errors().iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), [name], "{query}");
    }
}

#[test]
fn if_match_is_an_etag_of_ours() {
    let read = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        if_match(&headers)
    };
    assert_eq!(read(&[]), Some(IfMatch(None)));
    assert_eq!(read(&["*"]), Some(IfMatch(None)));
    assert_eq!(read(&["\"17\""]), Some(IfMatch(Some(17))));
    for odd in
        ["17", "\"017\"", "\"+1\"", "W/\"17\"", "\"a\"", "\"1\", \"2\"", "\"\"", "", "\"", "\"18446744073709551616\""]
    {
        assert_eq!(read(&[odd]), None, "{odd}");
    }
    assert_eq!(read(&["\"1\"", "\"2\""]), None);
}

#[test]
fn how_long_to_wait_is_said_with_a_unit() {
    assert_eq!(wait(None).unwrap(), Wait::Full);
    assert_eq!(wait(Some("none")).unwrap(), Wait::None);
    assert_eq!(wait(Some("250ms")).unwrap(), Wait::AtMost(Duration::from_millis(250)));
    for odd in ["", "5", "soon", "-1s", "5 parsecs"] {
        assert_eq!(wait(Some(odd)).unwrap_err().status(), 422, "{odd}");
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(body in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[\\[\\]{}:,\"a-z0-9 \\\\u.eE+-]{0,60}".prop_map(String::into_bytes),
        "\\{\"(name|count|inner|list|x)\":[\\[\\]{}:,\"a-z0-9]{0,20}\\}".prop_map(String::into_bytes),
    ]) {
        match json::<Sample>(&body) {
            Ok(_) => prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok()),
            Err(problem) => {
                let sound = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
                prop_assert_eq!(problem.status().as_u16(), if sound { 422 } else { 400 });
                prop_assert!(!sound || !problem.errors().is_empty());
            }
        }
    }

    #[test]
    fn no_query_makes_the_reader_panic_and_what_was_written_is_read(
        query in ".{0,60}",
        q in any::<String>(),
        limit in any::<u32>(),
        stale in any::<bool>(),
    ) {
        if let Err(problem) = parameters::<Query>(&query) {
            prop_assert_eq!(problem.status().as_u16(), 422);
            prop_assert!(!problem.errors().is_empty());
        }
        let written = form_urlencoded::Serializer::new(String::new())
            .append_pair("q", &q)
            .append_pair("limit", &limit.to_string())
            .append_pair("stale", &stale.to_string())
            .finish();
        let read: Query = parameters(&written).unwrap();
        prop_assert_eq!(read, Query { q: Some(q), limit: Some(limit), stale: Some(stale) });
    }

    #[test]
    fn an_etag_is_read_back(revision in any::<u64>(), odd in "[ -~]{0,12}") {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_str(&format!("\"{revision}\"")).unwrap());
        prop_assert_eq!(if_match(&headers), Some(IfMatch(Some(revision))));
        headers.insert(IF_MATCH, HeaderValue::from_str(&odd).unwrap());
        if let Some(IfMatch(Some(read))) = if_match(&headers) {
            prop_assert_eq!(format!("\"{read}\""), odd.trim());
        }
    }
}
