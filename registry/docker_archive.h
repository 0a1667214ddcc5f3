#pragma once
#include <vector>

#include "layers/base/progress.h"
#include "registry/layout.h"

namespace surcoat::registry {

/// `docker save` archives: `manifest.json` is an array of
///   {"Config": member, "RepoTags": ["shop:1", …] or null, "Layers": [member, …], …}
/// Before docker 25 and from skopeo: `<hex>.json` and `<hex>.tar` or `<id>/layer.tar`, plain or gzip, often
/// as a symlink to another member; there is no manifest. Since docker 25: the members are those of an OCI
/// layout, which lies in the same archive. Order of members does not matter.
inline constexpr const char* kDockerManifestFile = "manifest.json";

/// The images of an archive without a layout.
/// Throws Errc::invalid and corrupt as read_layout does.
std::vector<OfferedImage> read_docker_archive(const Members& members, Progress& progress);

/// For an archive with a layout: adds manifest.json's names to the images that the layout offers. Throws
/// Errc::corrupt if the two do not speak of the same images.
void add_docker_names(const Members& members, std::vector<OfferedImage>& images, Progress& progress);

/// One image's entry in manifest.json, in the form of docker 25.
Json docker_manifest_entry(const Manifest& manifest, const std::vector<DiffId>& diff_ids,
                           const std::vector<std::string>& familiar_names);

}  // namespace surcoat::registry
