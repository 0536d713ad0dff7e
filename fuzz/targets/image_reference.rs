//! Image strings: whatever is taken for a reference prints to a text that parses to the same
//! value, and no image ID is a reference.
use pullguard::image::{ImageId, ImageString, Reference, Repository};

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(input: &[u8]) -> String {
    match std::str::from_utf8(input) {
        Ok(text) => judge(text),
        Err(_) => "no text".to_owned(),
    }
}

fn judge(text: &str) -> String {
    let reference = match Reference::parse(text) {
        Ok(reference) => {
            assert!(ImageId::parse(text).is_err());
            assert_eq!(
                Reference::parse(&reference.to_string()),
                Ok(reference.clone())
            );
            let repository = reference.repository();
            assert_eq!(
                Repository::parse(&repository.to_string()).as_ref(),
                Ok(repository)
            );
            format!(
                "tag {:?} digest {:?}",
                reference.tag().is_some(),
                reference.digest().is_some()
            )
        }
        Err(error) => error.to_string(),
    };
    let string = ImageString::parse(text);
    format!(
        "{reference}; {}",
        string
            .err()
            .map_or(String::new(), |error| error.to_string())
    )
}
