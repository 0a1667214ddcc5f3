#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/json.h"
#include "layers/compression.h"
#include "layers/image.h"

namespace surcoat::registry {

/// OCI and docker documents. Spec: image-spec v1.1; notes registry.md 1.1, 1.2. Parsing is strict (sizes,
/// digests, types, duplicate names, both-manifest-and-index) and never re-serialises: what has a digest is
/// kept byte for byte by its owner. Members that we do not know are ignored; a member that differs from one
/// we know only in case is refused, because programs written in Go would read it as that one.
/// Every parse function throws Errc::invalid that names the document (`what`), the member, and what was
/// found.

namespace media_type {
inline constexpr const char* kIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr const char* kManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr const char* kConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr const char* kEmpty = "application/vnd.oci.empty.v1+json";
inline constexpr const char* kLayer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr const char* kLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr const char* kLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr const char* kDockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr const char* kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr const char* kDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr const char* kDockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr const char* kDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
}  // namespace media_type

namespace annotation {
/// On an index's descriptors only. A tag, or (as podman writes it, and we) a reference.
inline constexpr const char* kRefName = "org.opencontainers.image.ref.name";
/// A full reference; docker and containerd write it beside the former.
inline constexpr const char* kImageName = "io.containerd.image.name";
/// On what buildkit puts beside a platform's manifest: not an image.
inline constexpr const char* kDockerReferenceType = "vnd.docker.reference.type";
}  // namespace annotation

/// Documents are read whole, so they have an upper size. The spec asks for at least 4 MiB for manifests.
inline constexpr std::uint64_t kManifestMax = (std::uint64_t{4} << 20) + (64 << 10);
inline constexpr std::uint64_t kConfigMax = std::uint64_t{16} << 20;

struct Descriptor {
    std::string media_type;
    Digest digest;
    std::uint64_t size = 0;
    std::optional<Platform> platform;
    std::map<std::string, std::string> annotations;

    Json to_json() const;
    /// Checks an embedded `data` against size and digest too.
    static Descriptor from_json(const Json& json);
    std::string annotation(const char* name) const;  ///< "" if absent
    bool operator==(const Descriptor&) const = default;
};

struct Manifest {
    std::string media_type = media_type::kManifest;
    Descriptor config;
    std::vector<Descriptor> layers;
    /// Deterministic; members in the order of the spec's own Go types.
    std::string to_json() const;
    static Manifest parse(std::string_view text, const std::string& what);
};

struct Index {
    std::string media_type = media_type::kIndex;
    std::vector<Descriptor> manifests;
    std::string to_json() const;
    static Index parse(std::string_view text, const std::string& what);
};

bool is_index_type(const std::string& media_type);
bool is_manifest_type(const std::string& media_type);
/// False for artifacts' configurations (signatures, charts, attestations …): these are no images.
bool is_config_type(const std::string& media_type);

/// What a layer's media type says of its compression; nothing for types that are no layer.
std::optional<Compression> layer_compression(const std::string& media_type);
/// Throws Errc::unsupported for compressions that OCI has no media type for.
std::string layer_media_type(Compression compression);

/// The configuration document (deterministic member order) and back. Unknown members are ignored on reading.
/// Checked: architecture and os are there, rootfs.type is "layers", times are RFC 3339, and the history, if
/// there is one, has as many entries with a layer as there are diff_ids.
std::string write_config(const Image& image);
Image parse_config(std::string_view text, const std::string& what);

/// The manifest of an index that suits the platform best; nothing if none does. Attestations and entries of
/// other systems are passed over; an entry that names no platform suits everyone least. notes
/// registry.md 1.5.
std::optional<Descriptor> select_platform(const Index& index, const Platform& platform);
/// 0 for the same platform, more the worse it suits, nothing if `offered` does not run on `wanted`. Both are
/// normalised first ("x86_64" is "amd64", "arm64/v8" is "arm64").
std::optional<unsigned> platform_rank(const Platform& offered, const Platform& wanted);

}  // namespace surcoat::registry
