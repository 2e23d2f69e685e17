//! How often a binding may be used: one token bucket each. It counts; it never waits.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use model::policy::Rate;
use model::{Binding, Config, DeploymentName, Refusal};

/// The token buckets of all bindings that have a rate.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    buckets: HashMap<String, Bucket>,
    mints: HashMap<DeploymentName, Arc<DefaultDirectRateLimiter>>,
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    limiter: Arc<DefaultDirectRateLimiter>,
}

impl Rates {
    /// The buckets of a configuration. One whose rate did not change keeps its level over a reload.
    pub(crate) fn new(config: &Config, old: &Self) -> Self {
        let rated = config.policy.bindings().iter().filter_map(|binding| Some((binding, binding.rate?)));
        let buckets = rated.map(|(binding, rate)| {
            let kept = old.buckets.get(&binding.id).filter(|bucket| bucket.rate == rate);
            let limiter = kept.map_or_else(|| limiter(rate).into(), |bucket| Arc::clone(&bucket.limiter));
            (binding.id.clone(), Bucket { rate, limiter })
        });
        let mint_rate =
            NonZeroU32::new(config.limits.unbound_mints_per_second).map(|each| Rate { per_second: each, burst: each });
        let mints = mint_rate
            .into_iter()
            .flat_map(|rate| config.deployments.keys().map(move |name| (name.clone(), Arc::new(limiter(rate)))));
        Self { buckets: buckets.collect(), mints: mints.collect() }
    }

    /// Whether the deployment may have another certificate minted for a name that is not bound; a rate of 0 allows none.
    pub(crate) fn admit_mint(&self, deployment: &DeploymentName) -> bool {
        self.mints.get(deployment).is_some_and(|limiter| limiter.check().is_ok())
    }

    /// Takes one token of the binding's.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] with the time until there is one again.
    pub(crate) fn admit(&self, binding: &Binding) -> Result<(), Refusal> {
        if binding.rate.is_none() {
            return Ok(());
        }
        let Some(bucket) = self.buckets.get(&binding.id) else { return Ok(()) };
        bucket.limiter.check().map_err(|not_until| Refusal::RateLimited {
            retry_in: not_until.wait_time_from(DefaultClock::default().now()),
        })
    }
}

fn limiter(rate: Rate) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(rate.per_second).allow_burst(rate.burst))
}
