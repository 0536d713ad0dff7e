//! Carries calls between the kubelet and containerd.
