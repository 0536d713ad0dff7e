//! What the guard reads from containerd's answers to gated calls, and the answer that it may give
//! itself. Pure. Refuses: an answer without the one word that it is asked for.

use std::fmt;

use prost::Message;

use crate::api::runtime_v1::{CreateContainerResponse, PullImageResponse, RunPodSandboxResponse};

/// `ImageStatusResponse` without an image: "there is no such image". All fields absent is no bytes.
pub const EMPTY_IMAGE_STATUS: &[u8] = &[];

/// Why an answer of containerd is no help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// Not a message of that kind.
    Malformed {
        /// The message.
        message: &'static str,
    },
    /// The field is empty.
    Empty {
        /// Which, as `Message.field`.
        field: &'static str,
    },
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { message } => write!(f, "containerd's answer is no `{message}`"),
            Self::Empty { field } => write!(f, "containerd's answer has an empty `{field}`"),
        }
    }
}

impl std::error::Error for AnswerError {}

/// `PullImageResponse.image_ref`: the image ID.
///
/// # Errors
/// Malformed or empty.
pub fn pulled_image(message: &[u8]) -> Result<String, AnswerError> {
    let malformed = AnswerError::Malformed {
        message: "PullImageResponse",
    };
    let answer = PullImageResponse::decode(message).map_err(|_| malformed)?;
    said(answer.image_ref, "PullImageResponse.image_ref")
}

/// `CreateContainerResponse.container_id`.
///
/// # Errors
/// Malformed or empty.
pub fn created_container(message: &[u8]) -> Result<String, AnswerError> {
    let malformed = AnswerError::Malformed {
        message: "CreateContainerResponse",
    };
    let answer = CreateContainerResponse::decode(message).map_err(|_| malformed)?;
    said(answer.container_id, "CreateContainerResponse.container_id")
}

/// `RunPodSandboxResponse.pod_sandbox_id`.
///
/// # Errors
/// Malformed or empty.
pub fn created_sandbox(message: &[u8]) -> Result<String, AnswerError> {
    let malformed = AnswerError::Malformed {
        message: "RunPodSandboxResponse",
    };
    let answer = RunPodSandboxResponse::decode(message).map_err(|_| malformed)?;
    said(
        answer.pod_sandbox_id,
        "RunPodSandboxResponse.pod_sandbox_id",
    )
}

fn said(word: String, field: &'static str) -> Result<String, AnswerError> {
    if word.is_empty() {
        Err(AnswerError::Empty { field })
    } else {
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AnswerError, EMPTY_IMAGE_STATUS, created_container, created_sandbox, pulled_image,
    };
    use crate::api::runtime_v1::ImageStatusResponse;
    use prost::Message as _;

    #[test]
    fn the_word_of_each_answer_is_read() {
        assert_eq!(pulled_image(b"\x0a\x03abc"), Ok("abc".to_owned()));
        assert_eq!(created_container(b"\x0a\x03abc"), Ok("abc".to_owned()));
        assert_eq!(created_sandbox(b"\x0a\x03abc"), Ok("abc".to_owned()));
    }

    #[test]
    fn an_answer_with_fields_of_a_newer_containerd_is_read() {
        assert_eq!(
            pulled_image(b"\x0a\x03abc\x9a\x06\x01x"),
            Ok("abc".to_owned())
        );
    }

    #[test]
    fn an_answer_without_its_word_is_an_error() {
        let field = "CreateContainerResponse.container_id";
        assert_eq!(created_container(b""), Err(AnswerError::Empty { field }));
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        let message = "PullImageResponse";
        assert_eq!(
            pulled_image(b"\x0a\x09abc"),
            Err(AnswerError::Malformed { message })
        );
    }

    #[test]
    fn the_empty_image_status_holds_no_image() {
        let answer = ImageStatusResponse::decode(EMPTY_IMAGE_STATUS).unwrap();
        assert_eq!(answer, ImageStatusResponse::default());
    }
}
