//! Any bytes as the body of any gated call: no panic, no unbounded memory, and what the scan lets
//! pass prost reads too (a disagreement between the two would be a hole or an outage).
use pullguard::request::{
    Fault, GatedMethod, HygieneError, Tolerated, arriving, decode, frame, name_image, pin_pull,
    scan, unframe,
};

const LIMIT: usize = 1 << 20;

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(input: &[u8]) -> String {
    let Some((choice, body)) = input.split_first() else {
        return "empty".to_owned();
    };
    // What the relay asks of each part that arrives, it must be told of the whole as well.
    let half = body.get(..body.len() / 2).unwrap_or_default();
    for so_far in [half, body] {
        if let Err(error) = arriving(so_far, LIMIT) {
            assert_eq!(unframe(body, LIMIT), Err(error));
        }
    }
    let Ok(message) = unframe(body, LIMIT).or_else(|_| {
        // Most inputs are no frame: then the bytes are the message.
        (body.len() <= LIMIT).then_some(body).ok_or(())
    }) else {
        return "no message".to_owned();
    };
    let framed = frame(message).expect("a short message has a frame");
    assert_eq!(unframe(&framed, LIMIT), Ok(message));

    let method = match choice % 10 {
        0 => GatedMethod::PullImage,
        1 => GatedMethod::ImageStatus,
        2 => GatedMethod::RunPodSandbox,
        3 => GatedMethod::UpdateContainerResources,
        4 => GatedMethod::Exec,
        5 => GatedMethod::ExecSync,
        6 => GatedMethod::Attach,
        7 => GatedMethod::PortForward,
        8 => GatedMethod::StartContainer,
        _ => GatedMethod::CreateContainer,
    };
    let none = Tolerated::none();
    let sound = scan(method.request_message(), message, &none).is_ok();
    let decoded = decode(method, message, &none);
    let said = match &decoded {
        Ok(_) => format!("{method:?}"),
        Err(error) => format!("{method:?} {error}"),
    };
    match decoded {
        Ok(_) => {
            assert!(sound);
            match method {
                GatedMethod::PullImage => check(pin_pull(message, "r.test/a@sha256:b"), message),
                GatedMethod::CreateContainer => check(name_image(message, "sha256:b"), message),
                _ => {}
            }
        }
        Err(HygieneError::Field { place, fault }) if sound => {
            // Only what a reader of views refuses: prost and the scan agree on the bytes.
            assert_ne!(
                (place.as_str(), fault),
                (method.request_message(), Fault::Truncated)
            );
        }
        Err(_) => {}
    }
    said
}

fn check(
    edited: Result<pullguard::request::Edited, pullguard::request::EditError>,
    message: &[u8],
) {
    let edited = edited.expect("what decodes can be edited");
    assert!(edited.message().starts_with(message));
}
