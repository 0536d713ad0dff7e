//! The pause image on containerd 2.x, which pins it in place of naming it in its status.

use crate::node::{PINNED, SOON, policy};
use crate::support::cri::{FOREVER, Refused, Started};
use crate::support::{Containerd, Guard, GuardSettings, Lab, Registry, until};

#[test]
fn without_a_setting_the_pause_image_is_the_one_that_containerd_2_pins() {
    let lab = Lab::new("pause-pinned");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v2(&lab, &registry);
    let app = registry.push("app-one", "shop/app:1").reference;
    let direct = containerd.cri();
    // containerd pins it when it has pulled it.
    let before = direct.run("before", &app, &FOREVER).expect("a first pod");
    let pause = containerd.pause().clone();
    let text = |entry: &str| {
        policy(&registry, "Verify", PINNED).replace(
            "  allowLockout: true\n",
            &format!("  allowLockout: true\n  pause: Deny\n{entry}"),
        )
    };
    Guard::write_policy(&lab, "policy.yaml", &text(""));
    let mut settings = GuardSettings::new(&lab, &containerd);
    settings.unset("pause_image");
    let guard = Guard::start(&lab, &settings);
    let run = || -> Result<Started, Refused> { guard.cri().run("pod", &app, &FOREVER) };
    let denied = until("the policy is in force", SOON, || match run() {
        Err(refused) if refused.code() != "STATE-BOOTSTRAP" => Ok(refused),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(
        (denied.call, denied.text()),
        (
            "RunPodSandbox",
            format!(
                "IMG-UNPROVEN lab/pause: pause image `{}` is not proven to be one of the bootstrap list; put repository@sha256:... of it on the list",
                pause.reference
            )
            .as_str()
        )
    );
    assert_eq!(direct.list_pods().expect("list").len(), 1, "{before:?}");
    let entry = format!(
        "  bootstrap:\n  - {{namespaces: [kube-system], image: \"{}\"}}\n",
        pause.pinned()
    );
    Guard::write_policy(&lab, "policy.yaml", &text(&entry));
    guard.reload();
    until("the listed one starts", SOON, || {
        run().map_err(|refused| refused.text().to_owned())
    });
}
