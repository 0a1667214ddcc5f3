#include "registry/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "layers/base/error.h"

namespace surcoat::registry {
namespace {

/// Indexes within indexes. Real ones have two levels.
constexpr int kIndexDepth = 8;
constexpr std::uint64_t kLayoutFileMax = 64 << 10;

void require_sha256(const Digest& digest) {
    if (digest.algorithm() == "sha256") return;
    throw Error(Errc::unsupported,
                fmt::format("{} is not a sha256 digest: the store has no others", digest.str()));
}

/// A document by its descriptor: size first, then digest, and only then is it looked at.
std::string read_document(const Members& members, const Descriptor& descriptor, std::uint64_t limit,
                          const char* kind) {
    require_sha256(descriptor.digest);
    const std::string name = blob_member(descriptor.digest);
    return doing(fmt::format("{} {}", kind, descriptor.digest.str()), [&] {
        const auto size = members.size(name);
        if (!size) {
            throw Error(Errc::corrupt, fmt::format("'{}' is missing", name))
                .hint("the image is incomplete: copy or save it again");
        }
        if (*size != descriptor.size) {
            throw Error(Errc::corrupt, fmt::format("its descriptor says {} bytes, '{}' has {}",
                                                   descriptor.size, name, *size));
        }
        std::string bytes = members.read(name, limit);
        if (const Digest found = Digest::of(bytes); found != descriptor.digest) {
            throw Error(Errc::corrupt, fmt::format("'{}' has the digest {}", name, found.str()));
        }
        return bytes;
    });
}

/// What program authors call a type that is not theirs: neither guessed at nor passed on.
void require_same_type(const std::string& said, const std::string& found) {
    if (said != found)
        throw Error(Errc::invalid,
                    fmt::format("its descriptor says it is {}, it says itself that it is {}", said, found));
}

class LayoutReading {
  public:
    LayoutReading(const Members& members, const std::string& base_name, Progress& progress)
        : members_(members), base_name_(base_name), progress_(progress) {}

    std::vector<OfferedImage> run() {
        check_layout_file();
        const Index index = Index::parse(members_.read(kIndexFile, kManifestMax), kIndexFile);
        for (const auto& [name, entries] : groups(index)) {
            const auto manifest =
                entries.size() == 1 ? resolve(entries.front(), 0) : choose(entries, "index.json", 0);
            if (manifest) add(*manifest, name);
        }
        if (images_.empty()) {
            throw Error(Errc::not_found, index.manifests.empty()
                                             ? "index.json names no image"
                                             : "index.json names nothing that is a container image");
        }
        return std::move(images_);
    }

  private:
    using Group = std::pair<std::string, std::vector<Descriptor>>;

    void check_layout_file() const {
        const Json json = Json::parse(members_.read(kLayoutFile, kLayoutFileMax), kLayoutFile);
        const std::string version = doing(kLayoutFile, [&] { return json.string_or("imageLayoutVersion"); });
        if (version != "1.0.0") {
            throw Error(Errc::unsupported,
                        fmt::format("oci-layout says imageLayoutVersion {}, expected \"1.0.0\"",
                                    json_quote(version)));
        }
    }

    /// The name that a descriptor has, as it stands there; "" for none.
    static std::string written_name(const Descriptor& entry) {
        std::string name = entry.annotation(annotation::kImageName);
        return name.empty() ? entry.annotation(annotation::kRefName) : name;
    }

    /// index.json lists images, and each entry is one; but entries of one name, or without names for several
    /// platforms, are forms of one image, of which one is chosen.
    std::vector<Group> groups(const Index& index) const {
        std::vector<Group> all;
        std::size_t platforms = static_cast<std::size_t>(-1);  // the group of unnamed entries with a platform
        std::map<std::string, std::size_t> by_name;
        for (const Descriptor& entry : index.manifests) {
            if (!entry.annotation(annotation::kDockerReferenceType).empty()) continue;
            const std::string name = written_name(entry);
            if (!name.empty()) {
                const auto [place, fresh] = by_name.emplace(name, all.size());
                if (fresh) all.push_back({name, {}});
                all[place->second].second.push_back(entry);
            } else if (entry.platform && platforms < all.size()) {
                all[platforms].second.push_back(entry);
            } else {
                if (entry.platform) platforms = all.size();
                all.push_back({name, {entry}});
            }
        }
        return all;
    }

    /// The manifest that a descriptor leads to; nothing if it is none of an image.
    std::optional<Descriptor> resolve(const Descriptor& entry, int depth) const {
        if (is_manifest_type(entry.media_type)) return entry;
        if (!is_index_type(entry.media_type)) {
            progress_.warning(
                fmt::format("left out {}: {} is no container image", entry.digest.str(), entry.media_type));
            return std::nullopt;
        }
        if (depth >= kIndexDepth) {
            throw Error(Errc::invalid, fmt::format("index {} is nested deeper than {} levels",
                                                   entry.digest.str(), kIndexDepth));
        }
        const std::string text = read_document(members_, entry, kManifestMax, "index");
        const Index index = Index::parse(text, fmt::format("index {}", entry.digest.str()));
        doing(fmt::format("index {}", entry.digest.str()),
              [&] { require_same_type(entry.media_type, index.media_type); });
        return choose(index.manifests, fmt::format("index {}", entry.digest.str()), depth + 1);
    }

    std::optional<Descriptor> choose(const std::vector<Descriptor>& entries, const std::string& what,
                                     int depth) const {
        // Tools copy one platform's image with the whole index (docker save --platform): what is not there
        // cannot be meant.
        Index present;
        for (const Descriptor& entry : entries) {
            const bool candidate = is_manifest_type(entry.media_type) || is_index_type(entry.media_type);
            if (candidate && members_.has(blob_member(entry.digest))) present.manifests.push_back(entry);
        }
        if (const auto chosen = select_platform(present, Platform::host())) return resolve(*chosen, depth);
        std::vector<Descriptor> others;
        std::string offered;
        for (const Descriptor& entry : present.manifests) {
            if (!entry.platform || entry.platform->os == "unknown") continue;
            others.push_back(entry);
            offered += (offered.empty() ? "" : ", ") + entry.platform->str();
        }
        if (others.size() == 1)
            return resolve(others.front(), depth);  // whoever loads it is told what it is for
        throw Error(Errc::not_found, fmt::format("{} has no image for {}{}", what, Platform::host().str(),
                                                 offered.empty() ? "" : "; it has " + offered))
            .hint("copy the one that you want out of it: skopeo --override-arch ARCH copy …");
    }

    void add(const Descriptor& entry, const std::string& written) {
        const std::string key = entry.digest.str();
        auto known = by_manifest_.find(key);
        if (known == by_manifest_.end()) {
            auto image = read_image(entry);
            if (!image) return;
            known = by_manifest_.emplace(key, images_.size()).first;
            images_.push_back(std::move(*image));
        }
        std::vector<Reference>& names = images_[known->second].names;
        if (const auto name = understand(written);
            name && std::find(names.begin(), names.end(), *name) == names.end()) {
            names.push_back(*name);
        }
    }

    std::optional<OfferedImage> read_image(const Descriptor& entry) const {
        OfferedImage image;
        image.manifest = read_document(members_, entry, kManifestMax, "manifest");
        image.manifest_type = entry.media_type;
        const std::string what = fmt::format("manifest {}", entry.digest.str());
        const Manifest manifest = Manifest::parse(image.manifest, what);
        doing(what, [&] { require_same_type(entry.media_type, manifest.media_type); });
        if (!is_config_type(manifest.config.media_type)) {
            progress_.warning(fmt::format("left out {}: its config is {}, so it is no container image",
                                          entry.digest.str(), manifest.config.media_type));
            return std::nullopt;
        }
        image.config = read_document(members_, manifest.config, kConfigMax, "configuration");
        image.config_type = manifest.config.media_type;
        image.image =
            parse_config(image.config, fmt::format("configuration {}", manifest.config.digest.str()));
        doing(what, [&] { offer_layers(manifest, image); });
        return image;
    }

    static void offer_layers(const Manifest& manifest, OfferedImage& image) {
        if (manifest.layers.size() != image.image.layers.size()) {
            throw Error(Errc::invalid, fmt::format("it has {} layers, but its configuration has {} diff_ids",
                                                   manifest.layers.size(), image.image.layers.size()));
        }
        for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
            const Descriptor& layer = manifest.layers[i];
            require_sha256(layer.digest);
            require_sha256(image.image.layers[i].digest);
            if (!layer_compression(layer.media_type)) {
                throw Error(Errc::unsupported,
                            fmt::format("layer {} has the media type {}, which is none that can be unpacked",
                                        layer.digest.str(), json_quote(layer.media_type)));
            }
            image.layers.push_back({.member = blob_member(layer.digest),
                                    .diff_id = image.image.layers[i],
                                    .blob = layer.digest,
                                    .size = layer.size,
                                    .media_type = layer.media_type});
        }
    }

    /// A full reference, or a bare tag of the layout's own name (umoci and skopeo write `oci:shop:1` so).
    std::optional<Reference> understand(const std::string& written) const {
        if (written.empty()) return std::nullopt;
        const bool bare = written.find_first_of("/:@") == std::string::npos;
        std::vector<std::string> readings;
        if (bare && !base_name_.empty()) readings.push_back(base_name_ + ":" + written);
        if (!bare || written != "latest") readings.push_back(written);
        for (const std::string& reading : readings) {
            try {
                Reference name = Reference::parse(reading);
                name.digest.reset();  // a name is given to an image; what it is follows from its bytes
                return name.with_default_tag();
            } catch (const Error&) { continue; }
        }
        progress_.warning(fmt::format("the name {} is none that an image can have here: loaded without it",
                                      json_quote(written)));
        return std::nullopt;
    }

    const Members& members_;
    const std::string& base_name_;
    Progress& progress_;
    std::vector<OfferedImage> images_;
    std::map<std::string, std::size_t> by_manifest_;
};

}  // namespace

std::string blob_member(const Digest& digest) {
    return fmt::format("blobs/{}/{}", digest.algorithm(), digest.hex());
}

std::vector<OfferedImage> read_layout(const Members& members, const std::string& base_name,
                                      Progress& progress) {
    return LayoutReading(members, base_name, progress).run();
}

}  // namespace surcoat::registry
