//! The images that pods run.

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Wanted;

/// An image, as a `DfsCluster` and a chart name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodImage {
    /// Repository, with the registry's host if it has one.
    pub(crate) repository: String,
    /// Tag.
    pub(crate) tag: String,
}

impl PodImage {
    fn parse(image: &str) -> Result<Self> {
        let parts = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        let (repository, tag) = parts.with_context(|| format!("write the image {image} as NAME:TAG"))?;
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
    }

    /// As the `image` of a spec.
    pub(crate) fn spec(&self) -> Value {
        json!({ "repository": self.repository, "tag": self.tag })
    }
}

impl fmt::Display for PodImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// All images there are.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    /// The one that is tested.
    pub(crate) present: PodImage,
    /// The release before.
    pub(crate) earlier: Option<PodImage>,
}

impl Images {
    /// Those of the command line.
    pub(super) fn parse(wanted: &Wanted) -> Result<Self> {
        let present = PodImage::parse(&wanted.image)?;
        let earlier = wanted.earlier_image.as_deref().map(PodImage::parse).transpose()?;
        ensure!(earlier.as_ref() != Some(&present), "{present} can't be the release before itself");
        Ok(Self { present, earlier })
    }

    /// The release before.
    pub(crate) fn before(&self) -> Result<&PodImage> {
        self.earlier.as_ref().context("there is no image of the release before")
    }
}
