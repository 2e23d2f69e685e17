//! The mint: hands out the leaf for a name, from its bounded cache or by one signature, never two
//! at once for the same name. It refuses to judge names; callers ask only for destinations they
//! have decided to serve, at a rate they limit.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use moka::ops::compute::Op;
use moka::sync::Cache;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::key::LeafKey;
use crate::leaf::{Leaf, issue};
use crate::validity::utc;
use crate::{Error, Root};

/// Where the mint reads the time; tests push it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Builds the TLS configuration around a freshly minted certificate: versions, ALPN, tickets are
/// its business.
///
/// It is called once per mint and its result lives as long as the leaf. Anything large in a
/// [`ServerConfig`], above all `session_storage`, of which rustls makes one per configuration by
/// default, should be shared between them.
pub type ServerConfigMaker = Box<dyn Fn(Arc<CertifiedKey>) -> ServerConfig + Send + Sync>;

/// Mints leaves under one root, all with one key that exists only in this process.
///
/// A leaf is sent alone: the root is the agent's trust anchor, which a verifier has already or will
/// not take from us (RFC 8446 §4.4.2), and every handshake would carry it for nothing.
pub struct Minter {
    root: Arc<Root>,
    key: LeafKey,
    clock: Clock,
    server_config: ServerConfigMaker,
    leaves: Cache<ServerName<'static>, Arc<Leaf>>,
}

impl Minter {
    /// A mint under `root` with a fresh leaf key and an empty cache of at most `cache_entries_max`
    /// leaves.
    ///
    /// When the cache is full, names that are asked for often win over names that are asked for
    /// once, so that a flood of new names does not push out those in use. The bound is enforced in
    /// small batches and may be exceeded by a few hundred entries for moments.
    ///
    /// # Errors
    /// [`Error::Signing`] or [`Error::LeafKey`] when no leaf key can be made.
    pub fn new(
        root: Arc<Root>,
        clock: Clock,
        server_config: ServerConfigMaker,
        cache_entries_max: u64,
    ) -> Result<Minter, Error> {
        let key = LeafKey::generate()?;
        let leaves = Cache::new(cache_entries_max);
        Ok(Minter { root, key, clock, server_config, leaves })
    }

    /// The leaf for `name`: the cached one while more than a quarter of its life is left, else a
    /// new one.
    ///
    /// Blocks for one signature at most (tens of microseconds). Threads that ask for the same name
    /// at the same time wait for the first and share its leaf. Case and a final dot make no
    /// difference.
    ///
    /// # Errors
    /// [`Error::RootExpired`] and [`Error::RootNotYetValid`] when the root cannot vouch now;
    /// [`Error::NameUnsupported`]; [`Error::ClockOutOfRange`]; the provider's failures. An error is
    /// not remembered.
    pub fn leaf(&self, name: &ServerName<'_>) -> Result<Arc<Leaf>, Error> {
        let name = canonical(name)?;
        let now = utc((self.clock)())?;
        if let Some(leaf) = self.cached(&name, now) {
            return Ok(leaf);
        }
        let outcome = self.leaves.entry(name.clone()).and_try_compute_with(|cached| {
            // Another thread may have minted while this one waited for the name.
            if cached.is_some_and(|entry| entry.value().is_fresh_at(now)) {
                return Ok(Op::Nop);
            }
            self.mint(&name, now).map(|leaf| Op::Put(Arc::new(leaf)))
        })?;
        #[expect(clippy::expect_used, reason = "without an entry the closure above puts one or fails")]
        let entry = outcome.into_entry().expect("a leaf was found or minted");
        Ok(entry.into_value())
    }

    /// Whether [`Minter::leaf`] would answer from the cache: asking costs no signature, so no limit
    /// need apply.
    pub fn holds(&self, name: &ServerName<'_>) -> bool {
        let (Ok(name), Ok(now)) = (canonical(name), utc((self.clock)())) else {
            return false;
        };
        self.cached(&name, now).is_some()
    }

    fn cached(&self, name: &ServerName<'static>, now: OffsetDateTime) -> Option<Arc<Leaf>> {
        self.leaves.get(name).filter(|leaf| leaf.is_fresh_at(now))
    }

    fn mint(&self, name: &ServerName<'static>, now: OffsetDateTime) -> Result<Leaf, Error> {
        let issued = issue(&self.root, &self.key.public, name, now)?;
        let chain = vec![issued.certificate.clone()];
        let certified = CertifiedKey::new(chain, Arc::clone(&self.key.signing));
        Ok(Leaf::new(&issued, (self.server_config)(Arc::new(certified))))
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("root", &self.root).finish_non_exhaustive()
    }
}

/// One spelling per name: lower case and without the final dot, which a certificate must not carry
/// (RFC 5280 §4.2.1.6).
fn canonical(name: &ServerName<'_>) -> Result<ServerName<'static>, Error> {
    let ServerName::DnsName(dns) = name else {
        return Ok(name.to_owned());
    };
    let spelled = dns.as_ref();
    let spelled = spelled.strip_suffix('.').unwrap_or(spelled).to_ascii_lowercase();
    ServerName::try_from(spelled).map_err(|_| Error::NameUnsupported)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::testing::{PushedClock, handshake, now, root, server_config, server_name};

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const CACHE_ENTRIES_MAX: u64 = 1_000;

    /// A mint with a clock to push and a count of what it minted.
    struct Mint {
        minter: Minter,
        clock: PushedClock,
        minted: Arc<AtomicUsize>,
    }

    impl Mint {
        fn under(root: Root) -> Self {
            let clock = PushedClock::starting_at(now());
            let minted = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&minted);
            let make: ServerConfigMaker = Box::new(move |certified| {
                count.fetch_add(1, Ordering::SeqCst);
                server_config(certified)
            });
            let minter = Minter::new(Arc::new(root), clock.reader(), make, CACHE_ENTRIES_MAX).unwrap();
            Self { minter, clock, minted }
        }

        fn leaf(&self, name: &str) -> Arc<Leaf> {
            self.minter.leaf(&server_name(name)).unwrap()
        }

        fn holds(&self, name: &str) -> bool {
            self.minter.holds(&server_name(name))
        }

        fn minted(&self) -> usize {
            self.minted.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_name_asked_for_twice_gets_the_same_leaf() {
        let mint = Mint::under(root());
        assert!(Arc::ptr_eq(&mint.leaf("api.acme.test"), &mint.leaf("api.acme.test")));
        assert_eq!(mint.minted(), 1);
    }

    #[test]
    fn case_and_a_final_dot_do_not_make_another_leaf() {
        let mint = Mint::under(root());
        assert!(Arc::ptr_eq(&mint.leaf("api.acme.test"), &mint.leaf("API.Acme.Test.")));
        assert_eq!(mint.minted(), 1);
    }

    #[test]
    fn different_names_get_different_leaves() {
        let mint = Mint::under(root());
        assert!(!Arc::ptr_eq(&mint.leaf("192.0.2.7"), &mint.leaf("::ffff:192.0.2.7")));
        assert!(!Arc::ptr_eq(&mint.leaf("a.acme.test"), &mint.leaf("b.acme.test")));
    }

    #[test]
    fn a_leaf_is_replaced_when_less_than_a_quarter_of_its_life_is_left() {
        let mint = Mint::under(root());
        let first = mint.leaf("api.acme.test");
        assert_eq!(first.not_after(), now() + 48 * HOUR);

        mint.clock.push(36 * HOUR - Duration::from_secs(1));
        assert!(Arc::ptr_eq(&first, &mint.leaf("api.acme.test")));

        mint.clock.push(Duration::from_secs(1));
        let second = mint.leaf("api.acme.test");
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(second.not_after(), now() + (36 + 48) * HOUR);
        assert_eq!(mint.minted(), 2);
    }

    #[test]
    fn a_leaf_from_the_future_is_replaced_when_the_clock_is_set_right() {
        let root = root();
        let mint = Mint::under(root);
        mint.clock.push(100 * HOUR);
        let from_the_future = mint.leaf("api.acme.test");
        mint.clock.set(now());
        assert!(!Arc::ptr_eq(&from_the_future, &mint.leaf("api.acme.test")));
    }

    #[test]
    fn the_mint_holds_a_name_only_while_its_leaf_is_fresh() {
        let mint = Mint::under(root());
        assert!(!mint.holds("api.acme.test"));
        mint.leaf("api.acme.test");
        assert!(mint.holds("api.acme.test") && mint.holds("API.ACME.TEST"));
        assert!(!mint.holds("other.acme.test"));
        mint.clock.push(36 * HOUR);
        assert!(!mint.holds("api.acme.test"));
        assert_eq!(mint.minted(), 1);
    }

    #[test]
    fn an_expired_root_mints_nothing() {
        let mint = Mint::under(root());
        mint.clock.push(3652 * 24 * HOUR + Duration::from_secs(1));
        let error = mint.minter.leaf(&server_name("api.acme.test")).unwrap_err();
        assert!(matches!(error, Error::RootExpired { .. }), "{error}");
    }

    #[test]
    fn an_error_is_not_remembered() {
        let mint = Mint::under(root());
        mint.clock.set(now() - 48 * HOUR);
        let error = mint.minter.leaf(&server_name("api.acme.test")).unwrap_err();
        assert!(matches!(error, Error::RootNotYetValid { .. }), "{error}");
        mint.clock.set(now());
        mint.leaf("api.acme.test");
    }

    #[test]
    fn a_hundred_threads_that_ask_for_one_name_share_one_mint() {
        const THREADS: usize = 100;
        let mint = Mint::under(root());
        let start = Barrier::new(THREADS);
        let leaves: Vec<_> = thread::scope(|scope| {
            let asking: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        mint.leaf("api.acme.test")
                    })
                })
                .collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(leaves.iter().all(|leaf| Arc::ptr_eq(leaf, &leaves[0])));
        assert_eq!(mint.minted(), 1);
    }

    #[test]
    fn ten_thousand_names_stay_within_the_bound_and_leave_a_busy_name_alone() {
        let mint = Mint::under(root());
        let busy = mint.leaf("busy.acme.test");
        for number in 0..10_000 {
            mint.leaf(&format!("n{number}.acme.test"));
            mint.leaf("busy.acme.test");
        }
        mint.minter.leaves.run_pending_tasks();
        assert!(mint.minter.leaves.entry_count() <= CACHE_ENTRIES_MAX, "{}", mint.minter.leaves.entry_count());
        assert!(Arc::ptr_eq(&busy, &mint.leaf("busy.acme.test")));
    }

    #[test]
    fn a_client_that_trusts_only_the_root_completes_a_handshake() {
        for name in ["api.acme.test", "xn--bcher-kva.test", "192.0.2.7", "2001:db8::7"] {
            let mint = Mint::under(root());
            let chain = handshake(&mint.minter.root, &mint.leaf(name), name).unwrap();
            assert_eq!(chain, 1, "the leaf travels alone");
        }
    }

    #[test]
    fn a_client_does_not_take_one_names_leaf_for_another() {
        let mint = Mint::under(root());
        assert!(handshake(&mint.minter.root, &mint.leaf("a.acme.test"), "b.acme.test").is_err());
        assert!(handshake(&mint.minter.root, &mint.leaf("192.0.2.7"), "192.0.2.8").is_err());
    }

    #[test]
    fn a_client_does_not_believe_another_installs_root() {
        let mint = Mint::under(root());
        assert!(handshake(&root(), &mint.leaf("api.acme.test"), "api.acme.test").is_err());
    }
}
