use proptest::prelude::*;

use super::*;

static INNER: Shape = Shape::Object(&[("User", &Shape::Any), ("Labels", &Shape::Map)]);
static DOCUMENT: Shape = Shape::Object(&[("config", &INNER), ("layers", &Shape::List(&INNER))]);

fn check(text: &str) -> Result<(), JsonError> {
    scan(text.as_bytes(), &DOCUMENT, 8)
}

#[test]
fn a_plain_document_passes() {
    assert_eq!(
        check(
            r#" {"config":{"User":"0","Labels":{"a":"1","A":"2","é":"\ud83d\ude00"}},"layers":[{"User":null}],"x":[1,-0.5e3,true,false]} "#
        ),
        Ok(())
    );
}

#[test]
fn p2_a_key_in_two_spellings_is_refused() {
    let case = |known: &str| {
        Err(JsonError::KeyCase {
            known: known.to_owned(),
        })
    };
    assert_eq!(
        check(r#"{"config":{"User":"1000"},"Config":{"User":"0"}}"#),
        case("config")
    );
    assert_eq!(check(r#"{"ConfiG":{}}"#), case("config"));
    assert_eq!(check(r#"{"config":{"user":"0"}}"#), case("User"));
    assert_eq!(check("{\"config\":{\"u\u{17f}er\":\"0\"}}"), case("User"));
    assert_eq!(check(r#"{"config":{"u\u017fer":"0"}}"#), case("User"));
    assert_eq!(check(r#"{"layers":[{"user":"0"}]}"#), case("User"));
}

#[test]
fn p2_a_key_twice_is_refused_at_every_depth() {
    let twice = |key: &str| {
        Err(JsonError::DuplicateKey {
            key: key.to_owned(),
        })
    };
    assert_eq!(check(r#"{"config":{},"config":{}}"#), twice("config"));
    assert_eq!(check(r#"{"config":{},"con\u0066ig":{}}"#), twice("config"));
    assert_eq!(
        check(r#"{"config":{"Labels":{"a":"1","a":"2"}}}"#),
        twice("a")
    );
    assert_eq!(check(r#"{"new":1,"New":2}"#), twice("New"));
    assert_eq!(check(r#"{"x":{"a":1,"a":2}}"#), twice("a"));
    assert_eq!(check(r#"{"x":{"a":1,"A":2}}"#), Ok(()));
    assert_eq!(
        check("{\"x\":{\"\\u001b`\":1,\"\\u001b`\":2}}"),
        twice("??")
    );
}

#[test]
fn p2_a_field_name_outside_ascii_is_refused() {
    assert_eq!(
        check("{\"кey\":1}"),
        Err(JsonError::KeyCharacter { offset: 1 })
    );
}

#[test]
fn p2_what_readers_repair_differently_is_refused() {
    assert_eq!(check("\u{feff}{}"), Err(JsonError::Encoding));
    assert_eq!(
        scan(b"{\"a\":\"\xff\"}", &DOCUMENT, 8),
        Err(JsonError::Encoding)
    );
    assert_eq!(check("{} {}"), Err(JsonError::Trailing { offset: 3 }));
    assert_eq!(
        check(r#"{"a":"\ud800"}"#),
        Err(JsonError::Surrogate { offset: 7 })
    );
    assert_eq!(
        check(r#"{"a":"\udc00"}"#),
        Err(JsonError::Surrogate { offset: 7 })
    );
    assert_eq!(
        check(r#"{"a":"\ud800\u0041"}"#),
        Err(JsonError::Surrogate { offset: 7 })
    );
    assert_eq!(
        check(r#"{"a":1e400}"#),
        Err(JsonError::Number { offset: 5 })
    );
    assert_eq!(check(r#"{"a":NaN}"#), Err(JsonError::Syntax { offset: 5 }));
    assert_eq!(check(r#"{"a":01}"#), Err(JsonError::Syntax { offset: 6 }));
    assert_eq!(check(r#"{"a":1,}"#), Err(JsonError::Syntax { offset: 7 }));
    assert_eq!(
        check("{\"a\":\"\n\"}"),
        Err(JsonError::Syntax { offset: 6 })
    );
    assert_eq!(check(""), Err(JsonError::Syntax { offset: 0 }));
}

#[test]
fn p2_nesting_ends_at_the_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check(&nested(8)), Ok(()));
    assert_eq!(check(&nested(9)), Err(JsonError::Depth { limit: 8 }));
    assert_eq!(check(&nested(10_000)), Err(JsonError::Depth { limit: 8 }));
}

#[test]
fn p3_keys_and_elements_end_at_the_limit_wherever_they_stand() {
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let list = |count: usize| format!("[{}]", many(count, "0"));
    assert_eq!(check(&list(16_384)), Ok(()));
    let over = Err(JsonError::Count { limit: 16_384 });
    assert_eq!(check(&list(16_385)), over);
    assert_eq!(check(&format!("[{}]", many(8_193, "[0]"))), over);
    let keys: Vec<String> = (0..16_385).map(|key| format!("\"{key}\":0")).collect();
    assert_eq!(check(&format!("{{\"x\":{{{}}}}}", keys.join(","))), over);
    assert_eq!(check(&format!("[{}]", many(1_000_000, "{}"))), over);
}

#[test]
fn a_wrong_type_is_named_by_its_place() {
    let read = parse::<Vec<u8>>(b"[1,\n\"x\"]", &Shape::Any, 8);
    assert_eq!(read, Err(JsonError::Type { line: 2, column: 3 }));
    assert_eq!(parse::<Vec<u8>>(b"[1,2]", &Shape::Any, 8), Ok(vec![1, 2]));
}

proptest! {
    #[test]
    fn what_passes_is_json_for_another_reader(text in "[\\[\\]{}:,\"\\\\a1eE+.u0d8c n-]{0,24}") {
        if check(&text).is_ok() {
            let other = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert!(other.is_ok(), "{}", text);
        }
    }
}
