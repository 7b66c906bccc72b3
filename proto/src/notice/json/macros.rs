//! One definition, from which a type's reader, writer and schema follow.

/// Defines a structure whose JSON form is an object. The documentation of the fields is that of the schema.
macro_rules! record {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $($(#[doc = $doc])* $vis $field: $type,)*
        }

        impl $crate::notice::json::Record for $name {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn read_fields(
                reader: &mut $crate::notice::json::Reader<'_>,
                fields: &$crate::notice::json::Fields<'_>,
            ) -> Option<Self> {
                // All are read before the first that failed ends it.
                $(let $field: Option<$type> = fields.read(reader, stringify!($field));)*
                Some(Self { $($field: $field?,)* })
            }

            fn write_fields(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                $($crate::notice::json::write_field(object, stringify!($field), &self.$field);)*
            }

            fn describe() -> (&'static str, Vec<$crate::notice::json::Property>) {
                let properties = vec![$($crate::notice::json::Property {
                    name: stringify!($field),
                    about: concat!($($doc),*),
                    required: !<$type as $crate::notice::json::Json>::OPTIONAL,
                    schema: <$type as $crate::notice::json::Json>::schema(),
                }),*];
                (concat!($($about),*), properties)
            }
        }

        impl $crate::notice::json::Json for $name {
            fn rule() -> std::borrow::Cow<'static, str> {
                format!("write an object with {}", <Self as $crate::notice::json::Record>::FIELDS.join(", ")).into()
            }

            fn read(
                reader: &mut $crate::notice::json::Reader<'_>,
                node: &$crate::notice::json::Node,
            ) -> Option<Self> {
                use $crate::notice::json::Record;
                let fields = reader.fields(node, Self::FIELDS)?;
                Self::read_fields(reader, &fields)
            }

            fn write(&self) -> Option<serde_json::Value> {
                let mut object = serde_json::Map::new();
                $crate::notice::json::Record::write_fields(self, &mut object);
                Some(serde_json::Value::Object(object))
            }

            fn schema() -> serde_json::Value {
                let (about, properties) = <Self as $crate::notice::json::Record>::describe();
                $crate::notice::json::object_schema(about, properties)
            }
        }
    };
}

/// Gives an enumeration of words (with `ALL` and `as_str`) its JSON form.
macro_rules! code_json {
    ($name:ident) => {
        impl $crate::notice::json::Json for $name {
            fn rule() -> std::borrow::Cow<'static, str> {
                let words: Vec<_> = Self::ALL.iter().map(|code| code.as_str()).collect();
                format!("write one of {}", words.join(", ")).into()
            }

            fn read(
                reader: &mut $crate::notice::json::Reader<'_>,
                node: &$crate::notice::json::Node,
            ) -> Option<Self> {
                let rule = Self::rule();
                $crate::notice::json::read_text(reader, node, &rule, |_, text| {
                    Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or_else(|| rule.to_string())
                })
            }

            fn write(&self) -> Option<serde_json::Value> {
                Some(self.as_str().into())
            }

            fn schema() -> serde_json::Value {
                let words: Vec<_> = Self::ALL.iter().map(|code| code.as_str()).collect();
                serde_json::json!({ "type": "string", "enum": words })
            }
        }
    };
}

/// Defines an enumeration whose JSON form is a word, in upper case but for the types of parts.
macro_rules! codes {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident {
            $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::notice::json::code_json!($name);
    };
}

/// Gives a type that is one string its `FromStr` and `Display`, once it is a `Word`.
macro_rules! word {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = $crate::notice::mistake::Rule;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                <Self as $crate::notice::json::Word>::parse(text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::notice::json::Word::text(self))
            }
        }
    };
}

pub(in crate::notice) use {code_json, codes, record, word};
