//! Macro for enums whose variants have names in text.

/// Declares an enum with a text name for each variant, and with `name()` and `Display`.
///
/// The list of all variants, `ALL`, is declared if the caller asks for it.
macro_rules! named {
    (
        $(#[$meta:meta])*
        pub enum $type:ident $variants:tt
        $(#[$name_meta:meta])*
        name $(, $(#[$all_meta:meta])* ALL)?
    ) => {
        named! { @enum [$(#[$meta])*] $type $variants [$(#[$name_meta])*] }
        $(named! { @all [$(#[$all_meta])*] $type $variants })?
    };
    (
        @enum [$($meta:tt)*] $type:ident
        { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)* }
        [$($name_meta:tt)*]
    ) => {
        $($meta)*
        pub enum $type {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $type {
            $($name_meta)*
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }
    };
    (
        @all [$($all_meta:tt)*] $type:ident
        { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)* }
    ) => {
        impl $type {
            $($all_meta)*
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
    };
}
