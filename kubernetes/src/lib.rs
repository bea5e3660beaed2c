//! What everything that speaks to Kubernetes shares.
