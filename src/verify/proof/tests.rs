use super::*;
use crate::image::Reference;
use crate::verify::BrokenChain;

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn id(name: &str) -> ImageId {
    ImageId::of_config(digest(name))
}

fn repository(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

fn ask(image: &str, reference: &str, depth: Depth) -> Requirement {
    Requirement {
        id: id(image),
        reference: Reference::parse(reference).unwrap(),
        depth,
        asked: Vec::new(),
    }
}

/// A chain from the index of `image` through its manifest.
fn chain(image: &str) -> Links {
    let index = digest(&format!("index of {image}"));
    let manifest = digest(&format!("manifest of {image}"));
    Links::recorded(vec![index], manifest, id(image), None)
}

fn at_index(name: &str, image: &str) -> String {
    format!("{name}@{}", chain(image).judged())
}

fn pulled(name: &str, judged: Option<Digest>, image: &str) -> NameEvidence {
    NameEvidence::CarriedPull {
        repository: repository(name),
        judged,
        id: id(image),
    }
}

fn answered(name: &str, digest: Digest) -> NameEvidence {
    NameEvidence::RegistryAnswer {
        repository: repository(name),
        digest,
    }
}

fn adopted(name: &str, image: &str) -> NameEvidence {
    NameEvidence::Adopted {
        repository: repository(name),
        digest: Some(*chain(image).judged()),
        id: id(image),
    }
}

fn found(links: Vec<Links>, names: Vec<NameEvidence>) -> Evidence {
    Evidence {
        links,
        names,
        ..Evidence::default()
    }
}

fn proof(image: &str, name: &str, digests: &[Digest], by: NameProof) -> ImageProof {
    ImageProof {
        repository: repository(name),
        config: digest(image),
        digests: digests.to_vec(),
        kin: Vec::new(),
        open: Vec::new(),
        name: by,
    }
}

fn no_name(image: &str, name: &str) -> NotProven {
    NotProven::Name {
        id: id(image),
        repository: repository(name),
    }
}

#[test]
fn nothing_is_proven_without_evidence() {
    let nothing = Evidence::default();
    let by_name = prove(&ask("a", "r", Depth::Name), &nothing, Preloaded::Adopt);
    assert_eq!(by_name, Err(no_name("a", "r")));
    let by_digest = prove(&ask("a", "r", Depth::Digests), &nothing, Preloaded::Adopt);
    assert_eq!(
        by_digest,
        Err(NotProven::Bytes {
            id: id("a"),
            digest: None
        })
    );
}

#[test]
fn a_carried_pull_by_tag_proves_the_id_alone() {
    let evidence = found(Vec::new(), vec![pulled("r", None, "a")]);
    let expected = proof("a", "r", &[], NameProof::CarriedPull);
    let name = prove(&ask("a", "r:1", Depth::Name), &evidence, Preloaded::Verify);
    assert_eq!(name, Ok(expected));
}

#[test]
fn a_carried_pull_by_tag_proves_no_digest() {
    let evidence = found(vec![chain("a")], vec![pulled("r", None, "a")]);
    let result = prove(
        &ask("a", "r:1", Depth::Digests),
        &evidence,
        Preloaded::Verify,
    );
    assert_eq!(result, Err(no_name("a", "r")));
}

#[test]
fn a_pinned_pull_proves_every_digest_of_its_chain() {
    let links = chain("a");
    let evidence = found(
        vec![links.clone()],
        vec![pulled("r", Some(*links.judged()), "a")],
    );
    let expected = proof("a", "r", links.digests(), NameProof::CarriedPull);
    for depth in [Depth::Name, Depth::Digests] {
        let result = prove(&ask("a", "r:1", depth), &evidence, Preloaded::Verify);
        assert_eq!(result, Ok(expected.clone()));
    }
}

#[test]
fn the_registry_proves_the_name_of_a_digest_that_leads_to_the_image() {
    let links = chain("a");
    let evidence = found(vec![links.clone()], vec![answered("r", *links.judged())]);
    let expected = proof("a", "r", links.digests(), NameProof::Registry);
    let result = prove(&ask("a", "r", Depth::Digests), &evidence, Preloaded::Verify);
    assert_eq!(result, Ok(expected));
}

#[test]
fn the_registry_proves_nothing_without_a_chain() {
    let evidence = found(Vec::new(), vec![answered("r", *chain("a").judged())]);
    let result = prove(&ask("a", "r", Depth::Name), &evidence, Preloaded::Verify);
    assert_eq!(result, Err(no_name("a", "r")));
}

#[test]
fn a3_the_name_of_a_child_does_not_prove_the_name_of_its_index() {
    let links = chain("a");
    let evidence = found(vec![links.clone()], vec![answered("r", *links.manifest())]);
    let written = ask("a", &at_index("r", "a"), Depth::Digests);
    assert_eq!(
        prove(&written, &evidence, Preloaded::Verify),
        Err(no_name("a", "r"))
    );
    let named = found(vec![links.clone()], vec![answered("r", *links.judged())]);
    let expected = proof("a", "r", links.digests(), NameProof::Registry);
    assert_eq!(prove(&written, &named, Preloaded::Verify), Ok(expected));
}

#[test]
fn a3_a_written_digest_is_where_the_chain_must_start() {
    let whole = chain("a");
    let half = Links::recorded(Vec::new(), *whole.manifest(), id("a"), None);
    let names = vec![
        answered("r", *whole.judged()),
        answered("r", *half.judged()),
    ];
    let written = ask("a", &at_index("r", "a"), Depth::Name);
    let result = prove(
        &written,
        &found(vec![half], names.clone()),
        Preloaded::Verify,
    );
    assert_eq!(
        result,
        Err(NotProven::Bytes {
            id: id("a"),
            digest: Some(*whole.judged())
        })
    );
    assert!(prove(&written, &found(vec![whole], names), Preloaded::Verify).is_ok());
}

#[test]
fn a3_a_written_manifest_is_proven_by_a_chain_that_passes_it() {
    let whole = chain("a");
    let manifest = *whole.manifest();
    let written = ask("a", &format!("r@{manifest}"), Depth::Digests);
    let evidence = found(vec![whole.clone()], vec![answered("r", manifest)]);
    let mut expected = proof("a", "r", &[manifest], NameProof::Registry);
    expected.kin = vec![*whole.judged()];
    assert_eq!(prove(&written, &evidence, Preloaded::Verify), Ok(expected));
}

#[test]
fn a3_a_written_manifest_is_proven_by_the_name_of_an_index_that_leads_there() {
    let whole = chain("a");
    let written = ask("a", &format!("r@{}", whole.manifest()), Depth::Digests);
    let of_index = found(vec![whole.clone()], vec![answered("r", *whole.judged())]);
    let expected = proof("a", "r", whole.digests(), NameProof::Registry);
    assert_eq!(prove(&written, &of_index, Preloaded::Verify), Ok(expected));
    let of_another = found(vec![whole], vec![answered("r", digest("another index"))]);
    assert_eq!(
        prove(&written, &of_another, Preloaded::Verify),
        Err(no_name("a", "r"))
    );
}

/// The index of `image` as it was rebuilt: another digest, the same manifest.
fn rebuilt(image: &str) -> Links {
    let index = digest(&format!("rebuilt index of {image}"));
    Links::recorded(vec![index], *chain(image).manifest(), id(image), None)
}

#[test]
fn every_named_index_of_an_image_is_proven_whichever_comes_first() {
    let (one, two) = (chain("a"), rebuilt("a"));
    let names = vec![
        pulled("r", Some(*one.judged()), "a"),
        answered("r", *two.judged()),
    ];
    for links in [
        vec![one.clone(), two.clone()],
        vec![two.clone(), one.clone()],
    ] {
        let evidence = found(links, names.clone());
        let result = prove(
            &ask("a", "r:1", Depth::Digests),
            &evidence,
            Preloaded::Verify,
        );
        let digests = [*one.judged(), *one.manifest(), *two.judged()];
        let expected = proof("a", "r", &digests, NameProof::CarriedPull);
        assert_eq!(result, Ok(expected));
    }
}

#[test]
fn an_index_without_a_name_is_kin_and_no_digest_of_the_repository() {
    let (one, two) = (chain("a"), rebuilt("a"));
    let names = vec![answered("r", *one.judged()), answered("s", *two.judged())];
    let evidence = found(vec![one.clone(), two.clone()], names);
    let result = prove(
        &ask("a", "r:1", Depth::Digests),
        &evidence,
        Preloaded::Verify,
    );
    let proof = result.unwrap();
    assert_eq!(proof.digests(), one.digests());
    assert_eq!(proof.kin(), [*two.judged()]);
}

#[test]
fn what_was_asked_about_stays_open_until_it_was_read_to_an_end() {
    let links = chain("a");
    let other = digest("another");
    let mut asked = ask("a", "r:1", Depth::Digests);
    asked.asked = vec![other, *links.judged()];
    let names = vec![answered("r", *links.judged())];
    let open = |evidence: &Evidence| {
        let proof = prove(&asked, evidence, Preloaded::Verify).unwrap();
        proof.open().to_vec()
    };
    let mut evidence = found(vec![links], names);
    assert_eq!(open(&evidence), [other]);
    for (error, wanted) in [
        (ChainError::OtherImage { judged: other }, vec![]),
        (ChainError::NotAnImage { digest: other }, vec![]),
        (ChainError::Missing { digest: other }, vec![other]),
        (ChainError::TooMany, vec![other]),
        (ChainError::Size { digest: other }, vec![other]),
    ] {
        evidence.broken = vec![BrokenChain {
            judged: other,
            error: error.clone(),
        }];
        assert_eq!(open(&evidence), wanted, "{error}");
    }
    evidence.apart = vec![other];
    assert_eq!(open(&evidence), []);
}

#[test]
fn a5_a_tag_that_was_moved_on_the_node_proves_nothing() {
    let good = chain("good");
    let names = vec![pulled("r", Some(*good.judged()), "good")];
    let evidence = found(vec![good, chain("evil")], names);
    let moved = prove(
        &ask("evil", "r:1", Depth::Digests),
        &evidence,
        Preloaded::Verify,
    );
    assert_eq!(moved, Err(no_name("evil", "r")));
    assert!(
        prove(
            &ask("good", "r:1", Depth::Digests),
            &evidence,
            Preloaded::Verify
        )
        .is_ok()
    );
}

#[test]
fn a7_an_evil_id_under_a_good_digest_is_bad_and_not_doubt() {
    let judged = *chain("good").judged();
    let mut evidence = found(
        vec![chain("good"), chain("evil")],
        vec![answered("r", judged)],
    );
    evidence.broken = vec![BrokenChain {
        judged,
        error: ChainError::OtherImage { judged },
    }];
    let error = prove(
        &ask("evil", &at_index("r", "good"), Depth::Name),
        &evidence,
        Preloaded::Adopt,
    )
    .unwrap_err();
    assert_eq!(
        error,
        NotProven::OtherImage {
            digest: judged,
            id: id("evil")
        }
    );
    assert_eq!(error.certainty(), Certainty::Bad);
    let good = ask("good", &at_index("r", "good"), Depth::Name);
    assert!(prove(&good, &evidence, Preloaded::Adopt).is_ok());
}

#[test]
fn a7_a_good_id_under_another_name_is_not_of_that_name() {
    let links = chain("good");
    let evidence = found(vec![links.clone()], vec![answered("r", *links.judged())]);
    let result = prove(
        &ask("good", "other", Depth::Digests),
        &evidence,
        Preloaded::Adopt,
    );
    assert_eq!(result, Err(no_name("good", "other")));
}

#[test]
fn a2_a_forged_chain_is_bad_and_a_missing_one_is_doubt() {
    let judged = *chain("a").judged();
    let asked = ask("a", &at_index("r", "a"), Depth::Name);
    let broken = |error: ChainError| Evidence {
        broken: vec![BrokenChain { judged, error }],
        ..Evidence::default()
    };
    let forged = ChainError::NotTheBytes { digest: judged };
    let error = prove(&asked, &broken(forged.clone()), Preloaded::Verify).unwrap_err();
    assert_eq!(
        error,
        NotProven::BadChain {
            judged,
            error: forged
        }
    );
    assert_eq!(error.certainty(), Certainty::Bad);
    let missing = ChainError::Missing { digest: judged };
    let error = prove(&asked, &broken(missing), Preloaded::Verify).unwrap_err();
    assert_eq!(
        error,
        NotProven::Bytes {
            id: id("a"),
            digest: Some(judged)
        }
    );
    assert_eq!(error.certainty(), Certainty::CouldNotTell);
}

#[test]
fn a4_the_adoption_record_counts_only_if_the_policy_adopts() {
    let links = chain("a");
    let evidence = found(vec![links.clone()], vec![adopted("r", "a")]);
    let with_digests = proof("a", "r", links.digests(), NameProof::Adopted);
    let only = NotProven::OnlyAdopted {
        id: id("a"),
        repository: repository("r"),
    };
    for depth in [Depth::Name, Depth::Digests] {
        let asked = ask("a", "r", depth);
        assert_eq!(
            prove(&asked, &evidence, Preloaded::Adopt),
            Ok(with_digests.clone())
        );
        assert_eq!(
            prove(&asked, &evidence, Preloaded::Verify),
            Err(only.clone())
        );
    }
}

#[test]
fn a4_an_adopted_image_without_digest_is_proven_by_id_alone() {
    let names = vec![NameEvidence::Adopted {
        repository: repository("r"),
        digest: None,
        id: id("a"),
    }];
    let evidence = found(vec![chain("a")], names);
    let asked = ask("a", "r", Depth::Name);
    let mut expected = proof("a", "r", &[], NameProof::Adopted);
    expected.kin = kin(&[&chain("a")], &[]);
    assert_eq!(prove(&asked, &evidence, Preloaded::Adopt), Ok(expected));
    let digests = ask("a", "r", Depth::Digests);
    assert_eq!(
        prove(&digests, &evidence, Preloaded::Adopt),
        Err(no_name("a", "r"))
    );
}

#[test]
fn a_bootstrap_entry_names_its_digest_and_is_the_strongest() {
    let links = chain("a");
    let entry = NameEvidence::Bootstrap {
        repository: repository("r"),
        digest: *links.judged(),
    };
    let names = vec![adopted("r", "a"), answered("r", *links.judged()), entry];
    let expected = proof("a", "r", links.digests(), NameProof::Bootstrap);
    let evidence = found(vec![links], names);
    let result = prove(&ask("a", "r:any", Depth::Name), &evidence, Preloaded::Adopt);
    assert_eq!(result, Ok(expected));
}

#[test]
fn texts_name_the_image_and_the_repository() {
    let id = id("a");
    assert_eq!(
        no_name("a", "r").to_string(),
        format!("nothing shows that image `{id}` belongs to `docker.io/library/r`")
    );
}
