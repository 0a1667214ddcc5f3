#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "layers/digest.h"

namespace surcoat::registry {

/// The name of an image: `[domain/]path[:tag][@digest]`, normalised as docker does ("shop" →
/// docker.io/library/shop). Grammar: distribution/reference; notes registry.md 1.4.
struct Reference {
    std::string domain;  ///< "docker.io", "localhost:5000"
    std::string path;    ///< "library/shop"
    std::string tag;     ///< "" if none was given
    std::optional<Digest> digest;

    /// Throws Errc::invalid that says which part is wrong and how it must look.
    static Reference parse(std::string_view text);
    /// With tag "latest" if there is neither tag nor digest: the form under which names are stored.
    Reference with_default_tag() const;
    /// "docker.io/library/shop:1"
    std::string full() const;
    /// What people type: "shop:1", "localhost:5000/x:2".
    std::string familiar() const;
    /// familiar() without tag and digest.
    std::string familiar_repository() const;
    bool operator==(const Reference&) const = default;
};

}  // namespace surcoat::registry
