#include "registry/docker_archive.h"

#include <fmt/format.h>

#include <algorithm>

#include "layers/base/error.h"
#include "layers/entry.h"
#include "registry/oci_members.h"

namespace surcoat::registry {
namespace {

struct DockerEntry {
    std::string config;  ///< a member
    std::vector<std::string> layers;
    std::vector<std::string> names;
};

std::string member_name(const std::string& text) {
    if (text.empty()) throw Error(Errc::invalid, "a member's name is empty");
    return normalise_path(text);  // refuses ".."
}

std::vector<DockerEntry> read_entries(const Members& members) {
    const Json json = Json::parse(members.read(kDockerManifestFile, kManifestMax), kDockerManifestFile);
    return doing(kDockerManifestFile, [&] {
        if (json.is_object()) {
            throw Error(
                Errc::unsupported,
                "it is one image's manifest, not a list of images: this is a directory of skopeo's `dir:`")
                .hint("convert it first: skopeo copy dir:PATH oci:OTHER:NAME");
        }
        std::vector<DockerEntry> entries;
        for (const Json& item : json.as_array()) {
            doing(fmt::format("entry {}", entries.size()), [&] {
                check_member_case(item, {"Config", "RepoTags", "Layers", "Parent", "LayerSources"});
                if (!item.contains("Config")) throw Error(Errc::invalid, "member 'Config' is missing");
                DockerEntry entry;
                entry.config =
                    doing("member 'Config'", [&] { return member_name(item.string_or("Config")); });
                entry.names = item.strings("RepoTags");
                for (const std::string& layer : item.strings("Layers"))
                    entry.layers.push_back(member_name(layer));
                entries.push_back(std::move(entry));
            });
        }
        if (entries.empty()) throw Error(Errc::not_found, "it names no image");
        return entries;
    });
}

/// The digest that a member's name promises: blobs/sha256/<hex>, <hex>.json, <hex>.tar.
std::optional<Digest> promised_digest(std::string name) {
    constexpr std::string_view kBlobs = "blobs/sha256/";
    if (name.starts_with(kBlobs)) return Digest::try_parse("sha256:" + name.substr(kBlobs.size()));
    for (const std::string_view suffix : {".json", ".tar"}) {
        if (name.ends_with(suffix))
            return Digest::try_parse("sha256:" + name.substr(0, name.size() - suffix.size()));
    }
    return std::nullopt;
}

void add_names(const std::vector<std::string>& texts, std::vector<Reference>& names, Progress& progress) {
    for (const std::string& text : texts) {
        try {
            Reference name = Reference::parse(text).with_default_tag();
            if (name.digest) throw Error(Errc::invalid, "it has a digest");
            if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
        } catch (const Error&) {
            progress.warning(fmt::format("the name {} is none that an image can have here: loaded without it",
                                         json_quote(text)));
        }
    }
}

std::string read_config(const Members& members, const std::string& member) {
    std::string bytes = members.read(member, kConfigMax);
    const auto promised = promised_digest(member);
    if (const Digest found = Digest::of(bytes); promised && *promised != found) {
        throw Error(Errc::corrupt, fmt::format("configuration '{}' has the digest {}, not that of its name",
                                               member, found.str()));
    }
    return bytes;
}

OfferedImage read_entry(const Members& members, const DockerEntry& entry, Progress& progress) {
    OfferedImage image;
    image.config = read_config(members, entry.config);
    image.config_type = media_type::kConfig;
    image.image = parse_config(image.config, fmt::format("configuration '{}'", entry.config));
    const std::vector<DiffId>& diff_ids = image.image.layers;
    if (entry.layers.size() != diff_ids.size()) {
        throw Error(Errc::invalid, fmt::format("manifest.json lists {} layers, but '{}' has {} diff_ids",
                                               entry.layers.size(), entry.config, diff_ids.size()));
    }
    for (std::size_t i = 0; i < entry.layers.size(); ++i) {
        if (diff_ids[i].digest.algorithm() != "sha256") {
            throw Error(Errc::unsupported,
                        fmt::format("{} is not a sha256 digest: the store has no others", diff_ids[i].str()));
        }
        OfferedLayer layer{.member = entry.layers[i], .diff_id = diff_ids[i]};
        // "<hex>.tar" is named after the DiffId by skopeo and after docker's old IDs by others: no promise.
        if (layer.member.starts_with("blobs/")) layer.blob = promised_digest(layer.member);
        image.layers.push_back(std::move(layer));
    }
    add_names(entry.names, image.names, progress);
    return image;
}

}  // namespace

std::vector<OfferedImage> read_docker_archive(const Members& members, Progress& progress) {
    std::vector<OfferedImage> images;
    for (const DockerEntry& entry : read_entries(members))
        images.push_back(read_entry(members, entry, progress));
    return images;
}

void add_docker_names(const Members& members, std::vector<OfferedImage>& images, Progress& progress) {
    for (const DockerEntry& entry : read_entries(members)) {
        const std::string config = read_config(members, entry.config);
        const auto image = std::find_if(images.begin(), images.end(), [&](const OfferedImage& offered) {
            return offered.config == config;
        });
        if (image == images.end()) {
            throw Error(
                Errc::corrupt,
                fmt::format("manifest.json speaks of an image with the ID {}, which index.json does not name",
                            Digest::of(config).str()))
                .hint("the two must describe the same images: save the archive again");
        }
        std::vector<DiffId> layers;
        const bool same_layers = entry.layers.size() == image->layers.size();
        for (std::size_t i = 0; same_layers && i < entry.layers.size(); ++i) {
            if (entry.layers[i] == image->layers[i].member) continue;
            throw Error(
                Errc::corrupt,
                fmt::format("layer {} of the image {} is '{}' in manifest.json and '{}' in index.json", i,
                            Digest::of(config).str(), entry.layers[i], image->layers[i].member));
        }
        if (!same_layers) {
            throw Error(Errc::corrupt,
                        fmt::format("the image {} has {} layers in manifest.json and {} in index.json",
                                    Digest::of(config).str(), entry.layers.size(), image->layers.size()));
        }
        add_names(entry.names, image->names, progress);
    }
}

Json docker_manifest_entry(const Manifest& manifest, const std::vector<DiffId>& diff_ids,
                           const std::vector<std::string>& familiar_names) {
    Json layers = Json::array();
    std::map<std::string, Json> sources;  // Go writes maps sorted
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
        layers.push_back(blob_member(manifest.layers[i].digest));
        sources.emplace(diff_ids[i].str(), manifest.layers[i].to_json());
    }
    Json entry = Json::object();
    entry.set("Config", blob_member(manifest.config.digest));
    entry.set("RepoTags", familiar_names.empty() ? Json() : Json(familiar_names));
    entry.set("Layers", std::move(layers));
    if (!sources.empty()) {
        Json all = Json::object();
        for (auto& [diff_id, source] : sources) all.set(diff_id, std::move(source));
        entry.set("LayerSources", std::move(all));
    }
    return entry;
}

}  // namespace surcoat::registry
