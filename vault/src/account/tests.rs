//! A token's life, one promise to a test. The provider answers only when it is told to, and time moves only when pushed.

mod simulation;
mod support;

use super::*;
use crate::broker::Why;
use crate::grants::Seed;
use crate::oauth::TokenFailure;

use support::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_for_an_ended_token_make_one_call_and_are_all_answered() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    let asking = || {
        let account = Arc::clone(&account);
        tokio::spawn(async move { request(&account).await })
    };
    let requests: Vec<_> = (0..10_000).map(|_| asking()).collect();
    settle().await;
    assert_eq!(stage.provider.calls(), 1);
    stage.provider.answer(token("new", stage.now(), HOUR, Some("rt-2")));
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), "new");
    }
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_requester_going_away_does_not_cancel_the_flight() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    assert!(at_once(&account).await.is_none());
    settle().await;
    stage.provider.answer(token("new", stage.now(), HOUR, Some("rt-2")));
    settle().await;
    assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-2"));
    assert_eq!(request(&account).await.unwrap(), "new");
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_refresh_token_is_on_the_disk_before_its_access_token_is_handed_out() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    stage.provider.prepare(token("new", stage.now(), HOUR, Some("rt-2")));
    assert_eq!(request(&account).await.unwrap(), "new");
    let Stage { disk, store, commons, .. } = stage;
    drop((account, store, commons));
    let record = disk.open().account("acme").unwrap().unwrap();
    assert_eq!(record.refresh_token.unwrap().expose_secret(), "rt-2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_refresh_token_keeps_the_old_one() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    stage.provider.prepare(token("new", stage.now(), HOUR, None));
    request(&account).await.unwrap();
    assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-1"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_a_minute_ahead_and_no_request_waits_for_it() {
    let stage = Stage::new();
    let account = stage.account(kept("old", 61, Some("rt-1")));
    assert!(at_once(&account).await.unwrap().is_ok());
    settle().await;
    assert_eq!(stage.provider.calls(), 0);
    stage.push(1).await;
    assert_eq!(shown(&at_once(&account).await.unwrap().unwrap()), "old");
    settle().await;
    assert_eq!(stage.provider.held(), 1);
    assert_eq!(shown(&at_once(&account).await.unwrap().unwrap()), "old");
    stage.provider.answer(token("new", stage.now(), HOUR, None));
    settle().await;
    assert_eq!(shown(&at_once(&account).await.unwrap().unwrap()), "new");
}

#[tokio::test(start_paused = true)]
async fn a_short_token_is_renewed_when_a_tenth_of_its_life_is_left() {
    let stage = Stage::new();
    let record = AccountRecord { obtained_at: START, ..kept("old", 100, Some("rt-1")) };
    let account = stage.account(record);
    stage.push(89).await;
    assert!(at_once(&account).await.unwrap().is_ok());
    settle().await;
    assert_eq!(stage.provider.calls(), 0);
    stage.push(1).await;
    assert!(at_once(&account).await.unwrap().is_ok());
    settle().await;
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_renewed_without_a_request_and_an_idle_one_is_not() {
    let stage = Stage::new();
    let idle = stage.account(kept("old", 30, Some("rt-1")));
    idle.tend();
    settle().await;
    assert_eq!(stage.provider.calls(), 0);
    let used = stage.account(kept("old", 61, Some("rt-1")));
    request(&used).await.unwrap();
    stage.push(1).await;
    used.tend();
    settle().await;
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_half_a_minute() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    for (calls, least) in [1, 2, 4, 8, 16, 30, 30, 30].into_iter().enumerate() {
        stage.provider.prepare(outage(None));
        let wait = wait_of(request(&account).await);
        assert!((least..=least + 3).contains(&wait), "{wait} instead of {least}");
        assert_eq!(stage.provider.calls(), calls + 1);
        stage.push(wait - 1).await;
        assert_eq!(wait_of(request(&account).await), 1);
        assert_eq!(stage.provider.calls(), calls + 1);
        stage.push(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_names_a_pause_gets_it() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    stage.provider.prepare(outage(Some(Duration::from_secs(120))));
    assert!((120..=123).contains(&wait_of(request(&account).await)));
}

#[tokio::test(start_paused = true)]
async fn failures_before_the_end_keep_the_old_token_and_after_it_hand_out_none() {
    let stage = Stage::new();
    let account = stage.account(kept("old", 60, Some("rt-1")));
    for _ in 0..3 {
        stage.provider.prepare(outage(None));
        assert_eq!(request(&account).await.unwrap(), "old");
        settle().await;
        assert_eq!(request(&account).await.unwrap(), "old");
        stage.push(10).await;
    }
    assert_eq!(stage.provider.calls(), 3);
    assert_eq!(account.standing().0, Standing::Connected);
    stage.push(30).await;
    stage.provider.prepare(outage(None));
    assert!(wait_of(request(&account).await) > 0);
    assert_eq!(account.standing().0, Standing::Error);
    stage.push(40).await;
    stage.provider.prepare(token("new", stage.now(), HOUR, None));
    assert_eq!(request(&account).await.unwrap(), "new");
    assert_eq!(account.standing(), (Standing::Connected, None));
    assert_eq!(stage.told(), [Change::StatusChanged("error"), Change::StatusChanged("connected")]);
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_ever_and_the_flight_goes_on() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    assert_eq!(wait_of(request(&account).await), 1);
    stage.provider.answer(token("new", stage.now(), HOUR, None));
    settle().await;
    assert_eq!(request(&account).await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_is_told_once_and_remembered_over_a_restart() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    stage.provider.prepare(invalid_grant());
    for _ in 0..5 {
        assert_eq!(request(&account).await.unwrap_err().why(), Why::NeedsReauth);
        stage.push(HOUR).await;
        account.tend();
        settle().await;
    }
    assert_eq!(stage.told(), [Change::StatusChanged("needs_reauth")]);

    let restarted = stage.account(stage.stored("acme"));
    assert_eq!(request(&restarted).await.unwrap_err().why(), Why::NeedsReauth);
    assert_eq!(restarted.standing().0, Standing::NeedsReauth);
    assert_eq!(restarted.renewed_after(0, &Presentation::Bearer).await.map(|_| ()), None);
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_authorisation_resumes_traffic() {
    let stage = Stage::new();
    let account = stage.account(AccountRecord { needs_reauth: Some("dead".into()), ..kept("old", 99, Some("rt-1")) });
    assert!(request(&account).await.is_err());
    account.replace(Some(kept("fresh", HOUR, Some("rt-9"))), Change::Connected).await.unwrap();
    assert_eq!(request(&account).await.unwrap(), "fresh");
    assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-9"));
    assert_eq!(stage.told(), [Change::Connected]);
    stage.push(HOUR).await;
    stage.provider.prepare(token("next", stage.now(), HOUR, None));
    assert_eq!(request(&account).await.unwrap(), "next");
    assert_eq!(stage.provider.sent(), [Some("rt-9".to_owned())]);
}

/// The user signs in anew while the old refresh token is still being tried: whatever becomes of that must not count.
#[tokio::test(start_paused = true)]
async fn a_renewal_under_way_does_not_undo_a_new_authorisation() {
    let answers = [invalid_grant(), outage(None), token("stale", START, HOUR, Some("rt-2"))];
    for answer in answers {
        let stage = Stage::new();
        let account = stage.account(kept("old", -1, Some("rt-1")));
        assert!(at_once(&account).await.is_none());
        settle().await;
        account.replace(Some(kept("fresh", HOUR, Some("rt-9"))), Change::Connected).await.unwrap();
        stage.provider.answer(answer);
        settle().await;
        assert_eq!(request(&account).await.unwrap(), "fresh");
        assert_eq!(account.standing(), (Standing::Connected, None));
        assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-9"));
        assert_eq!(stage.told(), [Change::Connected]);
    }
}

/// A tokens' record that could not be written must not cost the rotated token of the renewal beside it.
#[tokio::test(start_paused = true)]
async fn an_authorisation_that_could_not_be_written_down_leaves_the_renewal_in_force() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    assert!(at_once(&account).await.is_none());
    settle().await;
    stage.disk.breaks(&stage.store);
    assert!(account.replace(Some(kept("fresh", HOUR, Some("rt-9"))), Change::Connected).await.is_err());
    stage.disk.heals();
    stage.provider.answer(token("new", stage.now(), HOUR, Some("rt-2")));
    assert_eq!(request(&account).await.unwrap(), "new");
    assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-2"));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_removed_is_available_again() {
    let stage = Stage::new();
    let account = stage.account(kept("old", HOUR, Some("rt-1")));
    account.replace(None, Change::Disconnected).await.unwrap();
    assert_eq!(request(&account).await.unwrap_err().why(), Why::NotConnected);
    assert_eq!(account.standing().0, Standing::Available);
    assert_eq!(stage.stored_refresh_token(), None);
    assert_eq!(stage.provider.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_keeps_the_old_token_and_the_new_one_is_written_before_any_new_call() {
    let stage = Stage::new();
    let account = stage.account(kept("old", 60, Some("rt-1")));
    stage.disk.breaks(&stage.store);
    stage.provider.prepare(token("new", stage.now(), HOUR, Some("rt-2")));
    assert_eq!(request(&account).await.unwrap(), "old");
    for _ in 0..3 {
        stage.push(15).await;
        account.tend();
        settle().await;
        assert_eq!(request(&account).await.unwrap(), "old");
    }
    stage.push(30).await;
    let refused = request(&account).await.unwrap_err();
    assert!(refused.to_string().contains("written down"), "{refused}");
    stage.disk.heals();
    stage.push(40).await;
    assert_eq!(request(&account).await.unwrap(), "new");
    assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-2"));
    assert_eq!(stage.provider.calls(), 1);
}

/// Slack and others have answered an error with a new refresh token in it: the old one is dead from then on.
#[tokio::test(start_paused = true)]
async fn a_refresh_token_beside_a_failure_is_kept() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    for (number, refresh) in ["rt-2", "rt-3", "rt-4"].into_iter().enumerate() {
        stage.provider.prepare(outcome(Some(refresh), Err(TokenFailure::Unusable("is broken".into()))));
        let wait = wait_of(request(&account).await);
        assert!(wait >= 1 << number, "pauses double all the same: {wait}");
        assert_eq!(stage.stored_refresh_token().as_deref(), Some(refresh));
        stage.push(wait).await;
    }
    stage.provider.prepare(token("new", stage.now(), HOUR, None));
    assert_eq!(request(&account).await.unwrap(), "new");
    assert_eq!(stage.provider.sent().last().unwrap().as_deref(), Some("rt-4"));
    assert_eq!(stage.told(), [Change::StatusChanged("error"), Change::StatusChanged("connected")]);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_first_refresh_token_does_not_replace_the_stores() {
    let stage = Stage::new();
    let account = stage.account(Seed::of("first").seeded(AccountRecord::default(), [7; 32], true, 0));
    stage.provider.prepare(token("new", stage.now(), HOUR, Some("rt-2")));
    request(&account).await.unwrap();
    let restarted = Seed::of("first").seeded(stage.stored("acme"), [7; 32], true, 0);
    assert_eq!(restarted.refresh_token.unwrap().expose_secret(), "rt-2");
    assert!(restarted.access_token.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_changed_first_refresh_token_counts_anew() {
    let stage = Stage::new();
    let account = stage.account(Seed::of("first").seeded(AccountRecord::default(), [7; 32], true, 0));
    stage.provider.prepare(invalid_grant());
    assert_eq!(request(&account).await.unwrap_err().why(), Why::NeedsReauth);
    let restarted = stage.account(Seed::of("second").seeded(stage.stored("acme"), [7; 32], true, 0));
    stage.provider.prepare(token("new", stage.now(), HOUR, Some("rt-2")));
    assert_eq!(request(&restarted).await.unwrap(), "new");
    assert_eq!(stage.provider.sent(), [Some("first".to_owned()), Some("second".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_forces_one_renewal_in_half_a_minute() {
    let stage = Stage::new();
    let account = stage.account(kept("old", HOUR, Some("rt-1")));
    let mut refused = account.credential(&Presentation::Bearer).await.unwrap().generation();
    for name in ["second", "third"] {
        stage.provider.prepare(token(name, stage.now(), HOUR, None));
        let next = account.renewed_after(refused, &Presentation::Bearer).await.unwrap();
        assert_eq!(shown(&next), name);
        refused = next.generation();
        let calls = stage.provider.calls();
        stage.push(29).await;
        assert!(account.renewed_after(refused, &Presentation::Bearer).await.is_none());
        assert_eq!(stage.provider.calls(), calls);
        stage.push(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_that_was_replaced_already_forces_nothing() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    stage.provider.prepare(token("new", stage.now(), HOUR, None));
    let current = account.credential(&Presentation::Bearer).await.unwrap().generation();
    let next = account.renewed_after(current - 1, &Presentation::Bearer).await.unwrap();
    assert_eq!((shown(&next), next.generation()), ("new".to_owned(), current));
    assert_eq!(stage.provider.calls(), 1);
}

/// A slow upstream may refuse a token whose successor has ended in the meantime.
#[tokio::test(start_paused = true)]
async fn an_ended_successor_is_not_handed_out_after_a_refusal() {
    let stage = Stage::new();
    let account = stage.account(kept("old", -1, Some("rt-1")));
    stage.provider.prepare(outage(None));
    assert!(account.renewed_after(0, &Presentation::Bearer).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn many_refusals_at_once_share_one_renewal() {
    let stage = Stage::new();
    let account = stage.account(kept("old", HOUR, Some("rt-1")));
    let refused = account.credential(&Presentation::Bearer).await.unwrap().generation();
    let asking = || {
        let account = Arc::clone(&account);
        tokio::spawn(async move { account.renewed_after(refused, &Presentation::Bearer).await })
    };
    let waiting: Vec<_> = (0..100).map(|_| asking()).collect();
    settle().await;
    stage.provider.answer(token("new", stage.now(), HOUR, None));
    for waiting in waiting {
        assert_eq!(shown(&waiting.await.unwrap().unwrap()), "new");
    }
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_refresh_token_is_kept_alive() {
    let stage = Stage::new();
    let provider = Box::new(stage.provider.clone());
    let record = AccountRecord { obtained_at: START, ..kept("old", HOUR, Some("rt-1")) };
    let account = account("acme", provider, Some(24 * HOUR), record, &stage.commons);
    stage.push(24 * HOUR - 1).await;
    account.tend();
    settle().await;
    assert_eq!(stage.provider.calls(), 0);
    stage.push(1).await;
    stage.provider.prepare(token("new", stage.now(), HOUR, Some("rt-2")));
    account.tend();
    settle().await;
    account.tend();
    settle().await;
    assert_eq!(stage.provider.calls(), 1);
    assert_eq!(stage.stored_refresh_token().as_deref(), Some("rt-2"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_accounts_that_end_together_share_the_flights() {
    let stage = Stage::new();
    let record = kept("old", -1, Some("rt-1"));
    let accounts: Vec<_> = (0..1000).map(|number| stage.named(&format!("acme-{number}"), record.clone())).collect();
    let asking = |account: &Arc<Account>| {
        let account = Arc::clone(account);
        tokio::spawn(async move { request(&account).await })
    };
    let requests: Vec<_> = accounts.iter().map(asking).collect();
    let mut most = 0;
    for _ in 0..1000 {
        if stage.provider.held() == 0 {
            settle().await;
        }
        most = most.max(stage.provider.held());
        stage.provider.answer(token("new", stage.now(), HOUR, None));
    }
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), "new");
    }
    assert_eq!(stage.provider.calls(), 1000);
    assert_eq!(most, FLIGHTS_MAX);
}

/// Google answers `invalid_grant` where a clock is wrong: nobody could authorise a service account anew.
#[tokio::test(start_paused = true)]
async fn a_grant_without_a_refresh_token_never_needs_a_new_authorisation() {
    let stage = Stage::with(Provider::of_clients());
    let account = stage.account(AccountRecord { needs_reauth: Some("dead".into()), ..AccountRecord::default() });
    stage.provider.prepare(invalid_grant());
    let wait = wait_of(request(&account).await);
    stage.push(wait).await;
    stage.provider.prepare(token("new", stage.now(), HOUR, None));
    assert_eq!(request(&account).await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn an_ended_token_without_a_refresh_token_needs_a_new_authorisation_and_no_call() {
    let stage = Stage::new();
    let account = stage.account(kept("old", 1, None));
    assert_eq!(request(&account).await.unwrap(), "old");
    assert!(account.renewed_after(1 << 32 | 1, &Presentation::Bearer).await.is_none());
    stage.push(1).await;
    assert_eq!(request(&account).await.unwrap_err().why(), Why::NeedsReauth);
    assert_eq!(account.standing().0, Standing::NeedsReauth);
    assert_eq!(stage.provider.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_authorised_an_account_without_tokens() {
    let stage = Stage::new();
    let account = stage.account(AccountRecord::default());
    assert_eq!(request(&account).await.unwrap_err().why(), Why::NotConnected);
    assert_eq!(account.standing(), (Standing::Available, None));
    assert_eq!(stage.provider.calls(), 0);
}

/// A connection whose settings have just changed may be asked as it was before.
#[tokio::test(start_paused = true)]
async fn a_presentation_that_is_not_known_makes_no_calls() {
    let stage = Stage::new();
    let account = stage.account(kept("old", HOUR, Some("rt-1")));
    let unknown = Presentation::Basic { username: "x".into() };
    assert!(matches!(account.credential(&unknown).await.unwrap_err().why(), Why::ForNow { .. }));
    assert_eq!(stage.provider.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_field_can_carry_is_not_asked_for_in_a_loop() {
    let stage = Stage::with(Provider::of_clients());
    let account = stage.account(AccountRecord::default());
    stage.provider.prepare(token("line\nend", stage.now(), HOUR, None));
    assert!(wait_of(request(&account).await) > 0);
    assert_eq!(stage.provider.calls(), 1);
}

/// Settings change while a renewal is under way: its rotated token must reach the successor.
#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_its_predecessors_renewal_and_uses_what_came_of_it() {
    let stage = Stage::new();
    let before = stage.account(kept("old", -1, Some("rt-1")));
    assert!(at_once(&before).await.is_none());
    settle().await;
    let after = stage.account(kept("old", -1, Some("rt-1")));
    after.follow(before.retire().unwrap());
    assert!(at_once(&after).await.is_none());
    settle().await;
    assert_eq!(stage.provider.sent(), [Some("rt-1".to_owned())]);
    stage.provider.answer(token("middle", stage.now(), HOUR, Some("rt-2")));
    stage.provider.prepare(token("new", stage.now(), HOUR, Some("rt-3")));
    assert_eq!(request(&after).await.unwrap(), "new");
    assert_eq!(stage.provider.sent(), [Some("rt-1".to_owned()), Some("rt-2".to_owned())]);
    assert_eq!(request(&before).await.unwrap(), "middle");
    stage.push(HOUR).await;
    assert_eq!(wait_of(request(&before).await), 1);
    assert_eq!(stage.provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_token_shows_in_anything_that_is_printed() {
    let stage = Stage::new();
    let account = stage.account(kept("canary-at", HOUR, Some("canary-rt")));
    let credential = account.credential(&Presentation::Bearer).await.unwrap();
    let mut printed = format!("{account:?} {credential:?} {:?} {:?}", account.record(), stage.commons);
    stage.provider.prepare(outage(None));
    assert!(account.renewed_after(credential.generation(), &Presentation::Bearer).await.is_none());
    stage.push(HOUR).await;
    stage.provider.prepare(invalid_grant());
    let refused = request(&account).await.unwrap_err();
    let events = stage.commons.events.listen(Some(0)).0;
    printed.push_str(&format!("{refused} {refused:?} {events:?} {:?} {:?}", account.standing(), account.record()));
    assert!(events.len() == 2 && !printed.contains("canary"), "{printed}");
}
