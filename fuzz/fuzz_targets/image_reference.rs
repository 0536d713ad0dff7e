//! Image strings: whatever is taken for a reference prints to a text that parses to the same
//! value, and no image ID is a reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullguard::image::{ImageId, ImageString, Reference, Repository};

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        assert!(ImageId::parse(text).is_err());
        assert_eq!(Reference::parse(&reference.to_string()), Ok(reference.clone()));
        let repository = reference.repository();
        assert_eq!(Repository::parse(&repository.to_string()).as_ref(), Ok(repository));
    }
    let _ = ImageString::parse(text);
});
