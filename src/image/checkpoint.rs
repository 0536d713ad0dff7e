//! Whether a document could make containerd restore a process, asked of bytes that the strict
//! reading refuses. Pure. containerd reads them with Go's `encoding/json`, which takes more than
//! the guard does, so the question is about text: any mention counts.

/// What every annotation of a checkpoint begins with.
const MENTION: &str = "org.criu.checkpoint";

/// Whether the text mentions a checkpoint once JSON's escapes are undone, whatever the case.
pub fn mentions_checkpoint(bytes: &[u8]) -> bool {
    unescaped(bytes).to_ascii_lowercase().contains(MENTION)
}

/// The text with `\uXXXX` and `\/` undone. Every other escape stands for a character that the
/// mention does not have.
fn unescaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut letters = after.chars();
        let escape = letters.next();
        let number = after
            .get(1..5)
            .filter(|_| escape == Some('u'))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        rest = match number {
            Some(number) => {
                plain.push(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER));
                after.get(5..).unwrap_or_default()
            }
            None => {
                plain.extend(escape);
                letters.as_str()
            }
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_a_checkpoint_is_seen_however_it_is_spelled() {
        for text in [
            r#"{"Annotations":{"org.criu.checkpoint.container.name":"a"}}"#,
            r#"{"annotations":{"ORG.CRIU.checkpoint.engine":"a"}}"#,
            r#"{"annotations":{"\u006frg.cri\u0075.checkpoint.x":"a"}}"#,
            r#"{"annotations":{"org.criu.check\u0070oint.x":"a"}"#,
            "org.criu.checkpoint",
        ] {
            assert!(mentions_checkpoint(text.as_bytes()), "{text}");
        }
        let mut broken = b"\xff\xfe{\"org.criu.checkpoint".to_vec();
        broken.push(0xff);
        assert!(mentions_checkpoint(&broken));
    }

    #[test]
    fn another_document_mentions_none() {
        for text in [
            "",
            "{}",
            "\\",
            "\\u",
            r"\u00",
            r#"{"annotations":{"org.criu\\u002echeckpoint":"a"}}"#,
            r#"{"annotations":{"org.opencontainers.image.title":"checkpoint"}}"#,
        ] {
            assert!(!mentions_checkpoint(text.as_bytes()), "{text}");
        }
    }
}
