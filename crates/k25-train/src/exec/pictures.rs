//! Pictures in a batch, and the vision tower on the tape.

use std::ops::Range;
use std::sync::Arc;

use k25_model::exec::InputRow;
use k25_model::vision::weights::{LayerNorm, LinearBias, PositionTable};
use k25_model::vision::{Gelu, Packing, RotaryAngles, VisionExec, VisionItem};

use crate::params::Param;
use crate::tape::{Act, QkvGeometry, Segment, Tape};

/// Pictures and chunks of films, and where in a sequence of rows their features stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pictures {
    /// The patches, in the order of the rows.
    pub items: Vec<VisionItem>,
    /// For every item the rows that its features take in place of tokens, as many as the tower makes of it.
    pub rows: Vec<Range<usize>>,
}

impl Pictures {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds the pictures of a sequence that begins at `first_row`.
    pub fn append(&mut self, others: &Self, first_row: usize) {
        self.items.extend_from_slice(&others.items);
        let rows = others.rows.iter();
        self.rows
            .extend(rows.map(|rows| rows.start + first_row..rows.end + first_row));
    }

    /// The input: tokens, and features (row after row, in the order of the items) where pictures stand.
    pub(super) fn input_rows<'f>(
        &self,
        tokens: &[u32],
        features: &'f [f32],
        width: usize,
    ) -> Vec<InputRow<'f>> {
        let count: usize = self.rows.iter().map(Range::len).sum();
        assert_eq!(count * width, features.len(), "rows of pictures");
        let mut rows: Vec<_> = tokens.iter().map(|id| InputRow::Token(*id)).collect();
        let places = self.rows.iter().cloned().flatten();
        for (place, feature) in places.zip(features.chunks_exact(width)) {
            rows[place] = InputRow::Feature(feature);
        }
        rows
    }
}

/// The execution of the vision tower that records, for the items of one batch.
pub(super) struct VisionTrain<'t, 'a> {
    tape: &'t mut Tape<'a>,
    /// What attends to what is the same in every block.
    geometry: Option<Arc<QkvGeometry>>,
}

impl<'t, 'a> VisionTrain<'t, 'a> {
    pub fn new(tape: &'t mut Tape<'a>) -> Self {
        Self {
            tape,
            geometry: None,
        }
    }
}

impl VisionExec<Param, Param> for VisionTrain<'_, '_> {
    type Act = Act;

    fn input(&mut self, parts: &[&[f32]], width: usize) -> Act {
        self.tape.input(&parts.concat(), width)
    }

    fn positions(&mut self, table: &PositionTable<Param>, packing: &Packing) -> Act {
        self.tape.positions(table, packing)
    }

    fn linear(&mut self, linear: &LinearBias<Param, Param>, x: &Act) -> Act {
        self.tape.linear_bias(linear, *x)
    }

    fn layer_norm(&mut self, norm: &LayerNorm<Param>, x: &Act) -> Act {
        self.tape.layer_norm(norm, *x)
    }

    fn add(&mut self, x: Act, y: &Act) -> Act {
        self.tape.add(x, *y)
    }

    fn gelu(&mut self, form: Gelu, x: Act) -> Act {
        self.tape.gelu(form, x)
    }

    fn attention(
        &mut self,
        heads: usize,
        packing: &Packing,
        angles: &RotaryAngles,
        qkv: &Act,
    ) -> Act {
        let geometry = self
            .geometry
            .get_or_insert_with(|| Arc::new(geometry(heads, packing, angles)));
        self.tape.attention(geometry, *qkv)
    }

    fn pool(&mut self, packing: &Packing, x: &Act) -> Act {
        self.tape.pool(packing, *x)
    }

    fn join_rows(&mut self, count: usize, x: Act) -> Act {
        self.tape.join_rows(count, x)
    }
}

/// Every patch of an item attends to every other, turned by row and column.
fn geometry(heads: usize, packing: &Packing, angles: &RotaryAngles) -> QkvGeometry {
    let segment = |rows: Range<usize>| Segment::whole(rows.start, rows.len());
    QkvGeometry {
        heads,
        causal: false,
        angles: angles
            .cos_sin()
            .iter()
            .flat_map(|(cos, sin)| [*cos, *sin])
            .collect(),
        segments: packing
            .items()
            .iter()
            .map(|item| segment(item.rows()))
            .collect(),
    }
}
