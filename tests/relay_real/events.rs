//! The one stream that stays open: a pod's life as containerd 2.x tells it.

use std::time::Duration;

use pullguard::request::Method;

use crate::relay_support::{framed, lines};
use crate::stage::{Numbered, Stage};
use crate::support::cri::FOREVER;

/// Real events of a pod's life over one stream; the stream is then taken back.
pub(crate) fn events_are_carried_as_they_come(stage: &Stage) {
    let Numbered { number, request } = Stage::numbered(Method::GetContainerEvents);
    let (response, mut body) = stage.within(Duration::from_secs(10), stage.client.open(request));
    body.send_data(framed(&[]).into(), true).unwrap();
    // containerd counts a stream as begun once it has read the request.
    stage.within(
        Duration::from_secs(10),
        stage
            .recorder
            .wait(&number, |seen| seen.request_data.len() == 5),
    );
    let image = stage.registry.push("busybox", "app:events").reference;
    let cri = stage.guard.cri();
    let pod = cri.run("events", &image, &FOREVER).unwrap();
    cri.stop(&pod.container, 1).unwrap();
    cri.remove_pod(&pod.pod).unwrap();
    let mut got = Vec::new();
    stage.within(Duration::from_secs(20), async {
        let (head, mut answer) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        while messages(&got) < 4 {
            let data = answer.data().await.unwrap().unwrap();
            answer.flow_control().release_capacity(data.len()).unwrap();
            got.extend_from_slice(&data);
        }
        drop(answer);
        body.send_reset(h2::Reason::CANCEL);
        let seen = stage
            .recorder
            .wait(&number, |seen| seen.reset.is_some())
            .await;
        assert_eq!(seen.reset, Some(h2::Reason::CANCEL));
        assert!(seen.data.starts_with(&got), "the stream's bytes");
        assert_eq!(lines(&head.headers), seen.head);
    });
}

/// Whole messages in a run of frames.
fn messages(mut data: &[u8]) -> usize {
    let mut count = 0;
    while data.len() >= 5 {
        let length = u32::from_be_bytes([data[1], data[2], data[3], data[4]]);
        let end = 5 + usize::try_from(length).unwrap();
        if data.len() < end {
            break;
        }
        data = &data[end..];
        count += 1;
    }
    count
}
