//! The acts: what happens to the instances.

/// One act of the play, the same for every balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    AllWell,
    OneSlow,
    OneFails,
    OneDrains,
    AllBack,
}

impl Act {
    pub(crate) const ALL: [Self; 5] = [
        Self::AllWell,
        Self::OneSlow,
        Self::OneFails,
        Self::OneDrains,
        Self::AllBack,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::AllWell => "all is well",
            Self::OneSlow => "gail becomes ten times slower",
            Self::OneFails => "gail is well again, ivan fails every call at once",
            Self::OneDrains => "ivan is well again, luis drains",
            Self::AllBack => "luis is back",
        }
    }

    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AllWell => "all well",
            Self::OneSlow => "one slow",
            Self::OneFails => "one fails",
            Self::OneDrains => "one drains",
            Self::AllBack => "all back",
        }
    }
}
