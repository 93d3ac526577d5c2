//! Weights: from `*.safetensors` files, or made up.
//!
//! Files are mapped and each tensor is converted to f32 as it is asked for, so that memory
//! holds the model once. Every length that a file claims is checked against the file before
//! anything of that length is allocated.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};
use serde::Deserialize;
use xscope_trace::stats::SplitMix;

use crate::error::{ModelError, Result};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// Where the weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadFormat {
    /// The `*.safetensors` files of the model folder.
    Auto,
    /// Made up from the seed, the same everywhere: right for speed, meaningless as scores.
    Dummy,
}

/// Gives tensors by name.
#[derive(Debug)]
pub(crate) struct Weights {
    store: Store,
    device: Device,
}

#[derive(Debug)]
enum Store {
    Files { dir: PathBuf, shards: Vec<Shard> },
    Dummy { seed: u64 },
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
    /// Where the tensors' bytes begin, from the start of the file.
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Weights {
    pub(crate) fn dummy(seed: u64, device: &Device) -> Self {
        Self { store: Store::Dummy { seed }, device: device.clone() }
    }

    pub(crate) fn open(dir: &Path, device: &Device) -> Result<Self> {
        let shards = shard_paths(dir)?.into_iter().map(Shard::open).collect::<Result<_>>()?;
        Ok(Self { store: Store::Files { dir: dir.to_owned(), shards }, device: device.clone() })
    }

    /// The tensor `name` in f32. Dummy vectors named like norms are ones.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match &self.store {
            Store::Dummy { seed } => dummy(name, shape, *seed, &self.device),
            Store::Files { dir, shards } => shards
                .iter()
                .find_map(|shard| shard.tensors.get(name).map(|info| (shard, info)))
                .ok_or_else(|| ModelError::TensorMissing {
                    name: name.to_owned(),
                    expected: shape.to_vec(),
                    path: dir.clone(),
                })
                .and_then(|(shard, info)| shard.read(name, info, shape, &self.device)),
        }
    }
}

impl Shard {
    fn open(path: PathBuf) -> Result<Self> {
        let read = |source| ModelError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(read)?;
        #[expect(unsafe_code, reason = "weights are gigabytes: mapped, not read into memory twice")]
        // SAFETY: the map is only read. Like every program that maps model files, this one
        // relies on nobody truncating the file while it is being loaded.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header_len, metadata) = SafeTensors::read_metadata(&map).map_err(|source| {
            ModelError::Safetensors { path: path.clone(), source: Box::new(source) }
        })?;
        let tensors =
            metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        // The header's length stands before it in 8 bytes.
        Ok(Self { path, map, data_start: 8 + header_len, tensors })
    }

    fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor> {
        if info.shape != shape {
            return Err(ModelError::TensorShape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
                path: self.path.clone(),
            });
        }
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            found => {
                return Err(ModelError::TensorType {
                    name: name.to_owned(),
                    found: format!("{found:?}"),
                    path: self.path.clone(),
                });
            }
        };
        let (start, end) = info.data_offsets;
        let bytes = self
            .map
            .get(self.data_start + start..self.data_start + end)
            .expect("read_metadata checked all offsets against the file");
        let tensor = Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(DType::F32)?.to_device(device)?)
    }
}

/// The files that hold the weights, sorted.
fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join(INDEX);
    if index.is_file() {
        return indexed_paths(dir, &index);
    }
    if dir.join(SINGLE).is_file() {
        return Ok(vec![dir.join(SINGLE)]);
    }
    let read = |source| ModelError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let problem = "it has no *.safetensors file".to_owned();
        return Err(ModelError::NoWeights { path: dir.to_owned(), problem });
    }
    paths.sort();
    Ok(paths)
}

fn indexed_paths(dir: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index)
        .map_err(|source| ModelError::Read { path: index.to_owned(), source })?;
    let index: Index = serde_json::from_str(&text).map_err(|source| ModelError::Json {
        what: index.display().to_string(),
        source: Some(source),
    })?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    // An index is somebody else's text: it may name files of its folder, and no others.
    if let Some(file) = files.iter().find(|file| !is_file_name(file)) {
        let problem = format!("{INDEX} names {file:?}, which is no file name");
        return Err(ModelError::NoWeights { path: dir.to_owned(), problem });
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}

fn is_file_name(text: &str) -> bool {
    Path::new(text).file_name().is_some_and(|name| name == text)
}

/// Uniform values of mean 0 and standard deviation `1 / sqrt(columns)`, which keeps activations
/// and logits near 1; norms are ones. Each tensor depends on its name and the seed only.
fn dummy(name: &str, shape: &[usize], seed: u64, device: &Device) -> Result<Tensor> {
    if name.ends_with("norm.weight") {
        return Ok(Tensor::ones(shape, DType::F32, device)?);
    }
    let columns = shape.last().copied().unwrap_or(1);
    let elements: usize = shape.iter().product();
    // A uniform distribution over a width of 1 has the standard deviation 1 / sqrt(12).
    #[expect(clippy::cast_precision_loss, reason = "a scale, not a count")]
    let width = (12.0 / columns as f32).sqrt();
    let seed = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut random = SplitMix::new(seed);
    let values: Vec<f32> = (0..elements).map(|_| (unit(&mut random) - 0.5) * width).collect();
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// A number from 0 to 1.
fn unit(random: &mut SplitMix) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "24 bits are exact in f32")]
    let unit = (random.bits() >> 40) as f32 / (1_u32 << 24) as f32;
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hostile(bytes: &[u8], expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SINGLE), bytes).unwrap();
        let error = Weights::open(dir.path(), &Device::Cpu).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains(SINGLE), "{message}");
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = u64::try_from(header.len()).unwrap();
        [&len.to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn damaged_files_are_errors() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let sound = file(header, &[0; 8]);
        for end in 0..sound.len() {
            check_hostile(&sound[..end], if end == 0 { "" } else { "not a sound safetensors" });
        }
        for hostile in [
            u64::MAX.to_le_bytes().to_vec(),
            99_000_000_u64.to_le_bytes().to_vec(),
            file(&header.replace("[2]", "[18446744073709551615,8]"), &[0; 8]),
            file(&header.replace("[0,8]", "[8,0]"), &[0; 8]),
            file(&header.replace("[0,8]", "[0,18446744073709551615]"), &[0; 8]),
            file(&"[".repeat(100_000), &[]),
        ] {
            check_hostile(&hostile, "not a sound safetensors");
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}"#;
        std::fs::write(dir.path().join(SINGLE), file(header, &[0; 16])).unwrap();
        let weights = Weights::open(dir.path(), &Device::Cpu).unwrap();
        let error = |name, shape: &[usize]| weights.get(name, shape).unwrap_err().to_string();
        assert!(error("a", &[3]).contains("tensor a has shape [2] in"));
        assert!(
            error("a", &[3]).contains("model.safetensors, but the model's config asks for [3]")
        );
        assert!(error("b", &[1]).contains("stored as I64; f32, f16 and bf16"));
        assert!(error("c", &[4, 5]).contains("tensor c with shape [4, 5] is missing"));
    }

    #[test]
    fn an_index_cannot_leave_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["../a.safetensors", "/etc/passwd", "..", "", "a/b.safetensors"] {
            let index = serde_json::json!({"weight_map": {"a": file}}).to_string();
            std::fs::write(dir.path().join(INDEX), index).unwrap();
            let error = Weights::open(dir.path(), &Device::Cpu).unwrap_err();
            assert!(error.to_string().contains("which is no file name"), "{file}: {error}");
        }
    }

    #[test]
    fn an_empty_folder_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Weights::open(dir.path(), &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("load with format dummy"), "{error}");
    }

    #[test]
    fn dummies_are_deterministic_and_differ_by_name_and_seed() {
        let get = |name, seed| {
            let tensor = Weights::dummy(seed, &Device::Cpu).get(name, &[4, 256]).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(get("a.weight", 0), get("a.weight", 0));
        assert_ne!(get("a.weight", 0), get("b.weight", 0));
        assert_ne!(get("a.weight", 0), get("a.weight", 1));
        let values = get("a.weight", 0);
        let square: f32 = values.iter().map(|value| value * value).sum();
        assert!((square / 4.0 - 1.0).abs() < 0.1, "each row has a length of about 1: {square}");
    }
}
