#pragma once
#include <string>
#include <vector>

#include "layers/base/progress.h"
#include "layers/image.h"
#include "registry/members.h"
#include "registry/oci.h"
#include "registry/reference.h"

namespace surcoat::registry {

/// The OCI image layout: `oci-layout`, `index.json`, `blobs/<algorithm>/<hex>`. Spec: image-spec v1.1,
/// image-layout.md. Unknown files are tolerated, so `manifest.json` of a docker-archive may lie beside them.
inline constexpr const char* kLayoutFile = "oci-layout";
inline constexpr const char* kLayoutText = "{\"imageLayoutVersion\":\"1.0.0\"}";
inline constexpr const char* kIndexFile = "index.json";
/// "blobs/sha256/<hex>"
std::string blob_member(const Digest& digest);

/// A layer as somebody offers it: not yet read, let alone verified.
struct OfferedLayer {
    std::string member;  ///< its name among the members
    DiffId diff_id;      ///< what the configuration says it is
    /// From its descriptor; absent in a legacy docker-archive.
    std::optional<Digest> blob;
    std::optional<std::uint64_t> size;
    std::string media_type;
};

/// An image as somebody offers it: its documents are verified (size, digest, form), its layers are not.
struct OfferedImage {
    std::string config;  ///< the very bytes
    std::string config_type;
    Image image;
    /// The very bytes; empty in a legacy docker-archive, which has none.
    std::string manifest;
    std::string manifest_type;
    std::vector<OfferedLayer> layers;
    std::vector<Reference> names;
};

/// What an OCI layout offers for this machine: one image for each name, and those without names. Of an index
/// over platforms the one that suits is taken; attestations and artifacts are passed over, with a word to
/// `progress`. `base_name` ("" if unknown) is the repository that a bare tag in `ref.name` belongs to.
/// Throws Errc::invalid, corrupt (what is there is not what it must be), not_found (no image for this
/// platform), unsupported (unknown layer types, digests other than sha256).
std::vector<OfferedImage> read_layout(const Members& members, const std::string& base_name,
                                      Progress& progress);

}  // namespace surcoat::registry
