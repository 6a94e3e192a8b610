//! Files known by name that are no image sets: published weights.

use std::path::PathBuf;

use crate::data::{
    Missing, Places, Remote, Result,
    download::{Checksum, Downloader, Watch},
};

/// A file known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// The name in manifests, and the folder in the cache.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The file at its address.
    pub remote: Remote,
}

/// The weights of FID's Inception network, as pytorch-fid ported them.
pub const INCEPTION: KnownFile = KnownFile {
    name: "inception",
    about: "Inception-v3 of 2015 as pytorch-fid has it: the features of FID, KID and IS",
    remote: Remote {
        file: "pt_inception-2015-12-05-6726825d.pth",
        base: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
        checksum: Checksum::Sha256Start("6726825d"),
    },
};

impl KnownFile {
    /// The file on this machine: below `DDIM_DATA`, in the cache, or where torch.hub keeps it; a
    /// safetensors copy is as good.
    pub fn find(&self, places: &Places) -> Option<PathBuf> {
        let file = PathBuf::from(self.remote.file);
        let names = [file.clone(), file.with_extension("safetensors")];
        let hub = places.cache.as_ref().and_then(|cache| cache.parent());
        let hub = hub.map(|cache| cache.join("torch/hub/checkpoints"));
        let roots = [places.data.clone(), places.cache.clone()].into_iter().flatten();
        let folders = roots.flat_map(|root| [root.join(self.name), root]).chain(hub);
        folders
            .flat_map(|folder| names.clone().map(|name| folder.join(name)))
            .find(|path| path.is_file())
    }

    /// The file on this machine, or how to get it.
    ///
    /// # Errors
    /// A file that is not here, or no folder that it could be put into.
    pub fn locate(&self, places: &Places) -> Result<PathBuf> {
        if let Some(path) = self.find(places) {
            return Ok(path);
        }
        Err(Box::new(Missing {
            name: self.name,
            looked: places.looked(),
            url: self.remote.url(),
            checksum: self.remote.checksum,
            destination: places.destination(self.name, self.remote)?,
            elsewhere: places.elsewhere(),
        })
        .into())
    }

    /// The file on this machine, downloaded into the cache if it is not there.
    ///
    /// # Errors
    /// A download that fails, or no folder to download to.
    pub fn fetch(&self, places: &Places, watch: &mut Watch<'_>) -> Result<PathBuf> {
        if let Some(path) = self.find(places) {
            return Ok(path);
        }
        let destination = places.destination(self.name, self.remote)?;
        let Remote { checksum, .. } = self.remote;
        Downloader::from_env().fetch(&self.remote.url(), checksum, &destination, watch)?;
        Ok(destination)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn weights_are_found_where_other_tools_leave_them_too() {
        let root = TempDir::new().unwrap();
        let places = Places { data: None, cache: Some(root.path().join("ddim")) };
        let error = INCEPTION.locate(&places).unwrap_err().to_string();
        for part in [
            "inception is not on this machine",
            "releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth (sha256 6726825d...)",
            "ddim/inception/pt_inception-2015-12-05-6726825d.pth",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let put = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "weights").unwrap();
            path
        };
        let hub = put("torch/hub/checkpoints/pt_inception-2015-12-05-6726825d.pth");
        assert_eq!(INCEPTION.find(&places), Some(hub));
        let own = put("ddim/inception/pt_inception-2015-12-05-6726825d.safetensors");
        assert_eq!(INCEPTION.find(&places), Some(own));
    }
}
