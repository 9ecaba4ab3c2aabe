//! The reference of every kernel: plain loops that perform, in the same order, the operations of the vector versions.

pub(crate) mod attention;
pub(crate) mod dense;
pub(crate) mod int4;
pub(crate) mod int8;
pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod quantize;

/// The sum of sixteen lanes, in the order of the vector levels: halves are added until one is left.
pub(crate) fn reduce_add(mut lanes: [f32; 16]) -> f32 {
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
