//! `noNewPrivileges: Require`. Pure.

use super::{Broken, ContainerCase};
use crate::policy::Code;
use crate::request::Flag;

/// The kubelet sets `no_new_privs` only where the pod says `allowPrivilegeEscalation: false`.
pub(super) fn judge(case: &ContainerCase<'_>, broken: &mut Vec<Broken>) {
    if case.container.no_new_privs == Flag::Off {
        broken.push(Broken::Plain(
            Code::PodEscalation,
            case.container_text()
                .words(" may gain privileges by setuid programs")
                .advice("set securityContext.allowPrivilegeEscalation: false"),
        ));
    }
}
