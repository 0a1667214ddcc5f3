#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "registry/image_store.h"

namespace surcoat::registry {

enum class ArchiveFormat { oci_directory, oci_archive, docker_archive };
std::optional<ArchiveFormat> parse_archive_format(
    std::string_view text);  ///< "oci-dir", "oci-archive", "docker-archive"

struct SaveOptions {
    ArchiveFormat format = ArchiveFormat::docker_archive;
    /// How to compress layers that are plain, and those that came compressed but whose bytes are not kept.
    /// Compressed layers that are kept stay as they are. With none, plain layers stay plain. Only none, gzip
    /// and zstd can be written (Errc::unsupported).
    Compression compression = Compression::none;
    Progress* progress = nullptr;
};

/// Writes images (names or ids; a name that is given is written with the image) as one archive: the very
/// bytes that were loaded wherever they are kept or can be made again, so that digests come out as they went
/// in. Deterministic: the same images give the same bytes. Everything is verified while it is written.
/// Returns a line per image that says its manifest digest and whether it is the same as the stored one
/// ("bit-identical: yes|no, because …").
/// docker-archive is written in the form of docker >= 25: manifest.json beside a complete OCI layout, so that
/// docker load, podman load and skopeo read it.
std::vector<std::string> save_images(Store& store, const std::vector<std::string>& names,
                                     const SaveOptions& options,
                                     ByteSink& sink);  // archives
/// The directory must be absent or empty (Errc::conflict); it appears when it is complete, or not at all.
std::vector<std::string> save_images(Store& store, const std::vector<std::string>& names,
                                     const SaveOptions& options,
                                     const std::filesystem::path& directory);  // oci_directory

struct LoadedImage {
    Digest id;
    std::vector<std::string> names;  ///< familiar form
};
/// Reads an OCI layout (directory or tar), or a docker-archive of either generation, plain or compressed;
/// everything is verified (size, digest, diff_id, types) before anything is named, all images of an archive
/// in one transaction. `path` "-" is stdin. A layer that the store has already is not read again.
std::vector<LoadedImage> load_images(Store& store, const std::string& path, Progress& progress);

}  // namespace surcoat::registry
