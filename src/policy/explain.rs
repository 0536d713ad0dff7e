//! The long form of each code: its section of docs/denials.md. Pure.

use super::Code;

const DENIALS: &str = include_str!("../../docs/denials.md");

/// The section of docs/denials.md about `code`, without its heading's marks.
pub fn explain(code: Code) -> &'static str {
    DENIALS
        .split("\n## ")
        .skip(1)
        .find(|section| section.lines().next() == Some(code.as_str()))
        .map_or("", str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_section_and_every_section_a_code() {
        for code in Code::ALL {
            assert!(explain(*code).lines().count() > 4, "{code}");
        }
        let sections: Vec<&str> = DENIALS
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(sections, codes);
    }
}
