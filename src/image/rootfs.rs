//! What containerd calls an image's unpacked root filesystem. Pure.

use super::Digest;

/// The chain ID of the layers (OCI image spec, config: "Layer ChainID"): the name of the snapshot
/// that holds all of them. `None` for an image without layers.
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(*first, |below, layer| {
        Digest::of(format!("{below} {layer}").as_bytes())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn the_chain_of_one_layer_is_the_layer_and_of_none_is_nothing() {
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&[digest('a')]), Some(digest('a')));
    }

    #[test]
    fn each_layer_is_hashed_onto_the_chain_below_it() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        let two = Digest::of(format!("{a} {b}").as_bytes());
        let three = Digest::of(format!("{two} {c}").as_bytes());
        assert_eq!(chain_id(&[a, b]), Some(two));
        assert_eq!(chain_id(&[a, b, c]), Some(three));
        assert_ne!(chain_id(&[b, a]), Some(two));
    }
}
