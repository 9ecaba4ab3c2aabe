//! An inspection as text for the terminal.

use std::fmt;

use super::{Architecture, Inspection, KindSummary};
use crate::checkpoint::{amount, first_few, shown};

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        let storage_width = self.kinds.iter().map(|k| k.storage.join(", ").len()).max();
        for kind in &self.kinds {
            write_kind(f, kind, storage_width.unwrap_or_default())?;
        }
        let files = match self.files.len() {
            1 => "1 file".to_owned(),
            count => format!("{} files", grouped(count as u64)),
        };
        let verdict = if self.is_sound() {
            ", all shapes as expected"
        } else {
            ""
        };
        let bytes = both_units(self.bytes);
        write!(
            f,
            "  {} tensors in {files}, {bytes}{verdict}",
            grouped(self.tensors as u64)
        )?;
        self.write_faults(f)
    }
}

impl Inspection {
    fn headline(&self) -> String {
        let Architecture {
            layers,
            experts,
            experts_per_token,
            shared_experts,
            kv_lora_rank,
            qk_rope_head_dim,
            context,
            vision_layers,
            ..
        } = self.architecture;
        let (text, active) = (
            billions(self.parameters.text),
            billions(self.parameters.active),
        );
        let experts = match experts {
            0 => "no experts".to_owned(),
            _ => format!("{experts} experts ({experts_per_token} + {shared_experts})"),
        };
        let mut parts = vec![
            self.family.clone(),
            format!("{text} parameters, {active} active"),
            format!("{layers} layers, {experts}"),
            format!("MLA {kv_lora_rank}+{qk_rope_head_dim}"),
            format!("{} context", positions(context)),
        ];
        if let Some(layers) = vision_layers {
            parts.push(format!(
                "vision {layers} layers, {}",
                billions(self.parameters.vision)
            ));
        }
        parts.join(" · ")
    }

    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            write!(f, "\n  fault      {fault}")?;
        }
        if !self.missing.is_empty() {
            let (list, count) = (
                first_few(&self.missing.first, self.missing.count),
                self.missing.count,
            );
            write!(f, "\n  missing    {}: {list}", grouped(count as u64))?;
        }
        for wrong in self.wrong.first.iter().take(5) {
            let (tensor, file) = (shown(&wrong.tensor), shown(&wrong.file));
            write!(
                f,
                "\n  wrong      {tensor}: expected {}, found {} ({file})",
                wrong.expected, wrong.found
            )?;
        }
        if self.wrong.count > 5 {
            write!(
                f,
                "\n  wrong      {} more",
                grouped(self.wrong.count as u64 - 5)
            )?;
        }
        if !self.unexpected.is_empty() {
            let list = first_few(&self.unexpected.first, self.unexpected.count);
            write!(
                f,
                "\n  unexpected {}: {list}",
                grouped(self.unexpected.count as u64)
            )?;
        }
        for note in &self.notes {
            write!(f, "\n  note       {note}")?;
        }
        if !self.is_sound() {
            write!(
                f,
                "\n  hint       config.json and the shards must belong to the same model: fetch the named files again"
            )?;
        }
        Ok(())
    }
}

fn write_kind(f: &mut fmt::Formatter<'_>, kind: &KindSummary, width: usize) -> fmt::Result {
    let KindSummary {
        kind,
        storage,
        tensors,
        parameters,
        bytes,
    } = kind;
    let noun = if *tensors == 1 { "tensor " } else { "tensors" };
    let (storage, tensors) = (storage.join(", "), grouped(*tensors as u64));
    let (parameters, bytes) = (billions(*parameters), amount(*bytes));
    writeln!(
        f,
        "  {kind:<15} {storage:<width$} {tensors:>8} {noun} {parameters:>11} {bytes:>12}"
    )
}

/// A count with a space between thousands: `208 550`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A parameter count in billions, millions or thousands: `1 026.4 B`.
fn billions(count: u64) -> String {
    let (unit, name) = match count {
        100_000_000.. => (1e9, "B"),
        100_000.. => (1e6, "M"),
        1_000.. => (1e3, "k"),
        _ => return count.to_string(),
    };
    let tenths = (count as f64 / unit * 10.0).round() as u64;
    format!("{}.{} {name}", grouped(tenths / 10), tenths % 10)
}

/// Bytes in decimal and, from a gigabyte on, in binary units, since both are called GB.
fn both_units(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes < GIB {
        return amount(bytes);
    }
    format!("{} ({:.1} GiB)", amount(bytes), bytes as f64 / GIB as f64)
}

/// A context length as it is spoken of: `256K`.
fn positions(count: usize) -> String {
    match count.is_multiple_of(1024) {
        true => format!("{}K", count / 1024),
        false => grouped(count as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(
            (grouped(0), grouped(999), grouped(208_550)),
            ("0".into(), "999".into(), "208 550".into())
        );
        assert_eq!(grouped(1_000_000), "1 000 000");
        assert_eq!(billions(1_026_408_232_448), "1 026.4 B");
        assert_eq!(billions(466_000_000), "0.5 B");
        assert_eq!(
            (billions(2_900_000), billions(999), billions(1_234)),
            ("2.9 M".into(), "999".into(), "1.2 k".into())
        );
        assert_eq!(both_units(595_148_154_624), "595.1 GB (554.3 GiB)");
        assert_eq!(
            (positions(262_144), positions(1000)),
            ("256K".into(), "1 000".into())
        );
    }
}
