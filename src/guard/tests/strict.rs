//! Nobody gets in while somebody who must have the entries does not.

use super::*;
use crate::audit::witness::Witnesses;

#[tokio::test]
async fn a_required_sink_that_is_behind_keeps_everybody_out_and_uses_nothing_up() {
    let world = World::new().await;
    let (witnesses, ends) = Witnesses::new([("siem".to_owned(), Duration::from_secs(60))]);
    world.guard.require(witnesses);
    let peer = world.abroad();
    prompt(world.sign_on(&peer, anna()).await);
    let code = world.relay.passcode();

    ends[0].waits_since(Some(world.system.now()));
    world.system.pass(61);
    refused(world.key(&peer, &code).await, Notice::Unavailable);
    refused(world.sign_on(&world.abroad(), anna()).await, Notice::Unavailable);
    world.treat("192.0.2.0/24", Treatment::Exempt).await;
    let safe = world.peer("192.0.2.7:40000");
    refused(world.sign_on(&safe, anna()).await, Notice::Unavailable);
    let entries = world.entries(Event::SignOn).await;
    let last = &entries.last().unwrap().entry;
    assert_eq!((last.outcome, last.reason.as_deref()), (Outcome::Failed, Some("audit-sink-behind")));
    assert_eq!(last.user.as_deref(), Some("ANNA"));
    assert!(last.detail.as_deref().unwrap().contains("`siem`"), "{last:?}");

    ends[0].waits_since(None);
    admitted(world.sign_on(&safe, anna()).await);
    // The passcode was not used up by the refusal, nor was a try.
    admitted(world.key(&peer, &code).await);
    // A worker that is gone is late for good.
    drop(ends);
    refused(world.sign_on(&safe, anna()).await, Notice::Unavailable);
}
