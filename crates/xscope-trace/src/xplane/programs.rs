//! The programs that a file carries, and which of them an event means.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::hlo;
use super::line::{DecodedLine, OpRef};
use super::plane::PlaneTables;
use crate::model::{ProgramId, SourceId, Trace};
use crate::quality::{Finding, Severity};
use crate::strings::StrId;

/// How many pairs of a listed and an unlisted program are compared: two thousand of each.
const MOST_PAIRS: usize = 1 << 22;

/// Programs by the id that events use.
pub(super) struct Programs {
    ids: FxHashMap<i64, ProgramId>,
    /// The ids that the file gives them, with the module name of each.
    listed: BTreeMap<i64, (ProgramId, StrId)>,
}

/// What events say of a program that the file does not list under their id.
#[derive(Default)]
struct Unlisted {
    module: StrId,
    ops: BTreeSet<StrId>,
}

impl Programs {
    /// Decodes the programs of all planes into `trace`.
    pub(super) fn read(source: SourceId, planes: &[PlaneTables<'_>], trace: &mut Trace) -> Self {
        let protos: Vec<_> = planes.iter().flat_map(|plane| &plane.programs).collect();
        let decoded: Vec<_> = protos.par_iter().map(|proto| hlo::decode(proto.hlo)).collect();
        let mut programs = Self { ids: FxHashMap::default(), listed: BTreeMap::new() };
        let mut damaged = 0;
        for (proto, module) in protos.iter().zip(decoded) {
            damaged += u64::from(module.damaged);
            let Ok(index) = u32::try_from(trace.programs.len()) else { break };
            let mut program = module.into_program(&mut trace.strings);
            let module_name = program.name;
            program.id = proto.id;
            program.source = Some(source);
            if !proto.name.is_empty() {
                program.name = proto.name;
            }
            trace.programs.push(program);
            programs.ids.insert(proto.id, ProgramId(index));
            programs.listed.insert(proto.id, (ProgramId(index), module_name));
        }
        if damaged > 0 {
            trace.findings.push(
                Finding::new(
                    "xplane.damaged_hlo",
                    Severity::Warning,
                    "HLO protos could not be read whole; some operations have no scope",
                )
                .times(damaged),
            );
        }
        programs
    }

    pub(super) fn find(&self, id: i64) -> Option<ProgramId> {
        self.ids.get(&id).copied()
    }

    /// Finds the programs that events name by ids which the file does not list.
    ///
    /// JAX's CPU backend numbers a program anew when it is loaded from the compilation cache, so
    /// its events say 168 where the file lists 170. A program fits if it has the module's name and
    /// all of the operations; of several that fit, the one at the distance that most agree on.
    pub(super) fn rejoin(
        &mut self,
        planes: &[PlaneTables<'_>],
        lines: &[DecodedLine<'_>],
        trace: &mut Trace,
    ) {
        let unlisted = self.unlisted(planes, lines, trace);
        if unlisted.len().saturating_mul(self.listed.len()) > MOST_PAIRS {
            let message = "too many programs are listed under other ids than their events use to \
                           be joined; their operations have no scope: capture for a shorter time";
            let finding = Finding::new("hlo.not_rejoined", Severity::Warning, message);
            trace.findings.push(finding.times(unlisted.len() as u64));
            return;
        }
        let fitting: BTreeMap<i64, Vec<i64>> =
            unlisted.iter().map(|(&id, program)| (id, self.fitting(program, trace))).collect();
        let mut distances: BTreeMap<i64, u64> = BTreeMap::new();
        for (id, candidates) in &fitting {
            for candidate in candidates {
                *distances.entry(candidate.wrapping_sub(*id)).or_default() += 1;
            }
        }
        let agreed = distances
            .iter()
            .max_by_key(|&(distance, &votes)| (votes, std::cmp::Reverse(distance.unsigned_abs())));
        let Some((&agreed, _)) = agreed else { return };
        let mut joined = 0;
        for (id, candidates) in &fitting {
            let target = id.wrapping_add(agreed);
            let chosen = match candidates.as_slice() {
                [only] => Some(*only),
                several => several.contains(&target).then_some(target),
            };
            if let Some((program, _)) = chosen.and_then(|chosen| self.listed.get(&chosen)) {
                self.ids.insert(*id, *program);
                joined += 1;
            }
        }
        trace.findings.push(
            Finding::new(
                "hlo.rejoined",
                Severity::Info,
                "programs were loaded from a compilation cache and are listed under other ids than \
                 their events use; they were joined by module name and operations",
            )
            .times(joined),
        );
    }

    fn unlisted(
        &self,
        planes: &[PlaneTables<'_>],
        lines: &[DecodedLine<'_>],
        trace: &mut Trace,
    ) -> BTreeMap<i64, Unlisted> {
        let mut unlisted: BTreeMap<i64, Unlisted> = BTreeMap::new();
        for line in lines {
            let names = &planes[line.plane].stat_names;
            let mut name = |op: OpRef| match op {
                OpRef::None => StrId::EMPTY,
                OpRef::Stat(id) => names.get(&id).copied().unwrap_or_default(),
                OpRef::Text(index) => trace.strings.intern_bytes(line.texts[index as usize]),
            };
            let unknown = line.metas.iter().filter(|meta| meta.program != 0);
            for meta in unknown.filter(|meta| !self.ids.contains_key(&meta.program)) {
                unlisted.entry(meta.program).or_default().ops.insert(name(meta.op));
            }
            for (id, &module) in &line.modules {
                if let Some(program) = unlisted.get_mut(id) {
                    program.module = name(module);
                }
            }
        }
        unlisted
    }

    /// The listed programs that have the name and all the operations of an unlisted one.
    fn fitting(&self, program: &Unlisted, trace: &Trace) -> Vec<i64> {
        let fits = |&(_, (id, module)): &(&i64, &(ProgramId, StrId))| {
            let listed = &trace.programs[id.0 as usize];
            *module == program.module
                && program.ops.iter().all(|op| listed.by_name.contains_key(op))
        };
        self.listed.iter().filter(fits).map(|(&id, _)| id).collect()
    }
}
