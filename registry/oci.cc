#include "registry/oci.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <set>

#include "layers/base/error.h"
#include "registry/oci_members.h"

namespace surcoat::registry {
namespace {

constexpr std::int64_t kSchemaVersion = 2;

/// RFC 6838, 4.2: type "/" subtype, each 1 … 127 characters of a small alphabet, the first one alphanumeric.
bool is_media_type(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return false;
    const auto alnum = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    const auto fine = [&](std::string_view part) {
        return !part.empty() && part.size() <= 127 && alnum(part.front()) &&
               std::all_of(part.begin(), part.end(), [&](char c) {
                   return alnum(c) || std::string_view("!#$&-^_.+").find(c) != std::string_view::npos;
               });
    };
    return fine(text.substr(0, slash)) && fine(text.substr(slash + 1));
}

/// Standard base64 with padding; nothing if it is none.
std::optional<std::string> decode_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    const auto value = [](char c) -> int {
        if (c >= 'A' && c <= 'Z') return c - 'A';
        if (c >= 'a' && c <= 'z') return c - 'a' + 26;
        if (c >= '0' && c <= '9') return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
    };
    std::string bytes;
    for (std::size_t at = 0; at < text.size(); at += 4) {
        const bool last = at + 4 == text.size();
        const int padding = !last ? 0 : text.substr(at, 4).ends_with("==") ? 2 : text[at + 3] == '=' ? 1 : 0;
        std::uint32_t bits = 0;
        for (int k = 0; k < 4; ++k) {
            const int v = k >= 4 - padding ? 0 : value(text[at + static_cast<std::size_t>(k)]);
            if (v < 0) return std::nullopt;
            bits = bits << 6 | static_cast<std::uint32_t>(v);
        }
        for (int k = 0; k < 3 - padding; ++k) bytes += static_cast<char>(bits >> (16 - 8 * k) & 0xff);
    }
    return bytes;
}

bool has_digest(const std::string& bytes, const Digest& digest) {
    Hasher hasher(digest.algorithm() == "sha512" ? Hasher::Algorithm::sha512 : Hasher::Algorithm::sha256);
    hasher.update(bytes);
    return hasher.finish_hex() == digest.hex();
}

Platform platform_from_json(const Json& json) {
    check_member_case(json, {"architecture", "os", "os.version", "os.features", "variant"});
    Platform platform;
    platform.architecture = json.string_or("architecture");
    platform.os = json.string_or("os");
    platform.variant = json.string_or("variant");
    if (platform.architecture.empty() || platform.os.empty()) {
        throw Error(Errc::invalid, "a platform needs 'architecture' and 'os'");
    }
    return platform;
}

void check_schema_version(const Json& json) {
    const Json& version = json["schemaVersion"];
    if (version.is_null()) throw Error(Errc::invalid, "member 'schemaVersion' is missing, expected 2");
    if (!version.is_int() || version.as_int() != kSchemaVersion) {
        throw Error(Errc::invalid,
                    fmt::format("schemaVersion is {}, expected {}", version.dump(), kSchemaVersion));
    }
}

std::vector<Descriptor> descriptors(const Json& json, const char* member) {
    const Json& list = json[member];
    if (list.is_null()) throw Error(Errc::invalid, fmt::format("member '{}' is missing", member));
    std::vector<Descriptor> all;
    doing(fmt::format("member '{}'", member), [&] {
        std::size_t position = 0;
        for (const Json& item : list.as_array()) {
            doing(fmt::format("entry {}", position++), [&] { all.push_back(Descriptor::from_json(item)); });
        }
    });
    return all;
}

/// A document that is an index to one program and a manifest to another is a way to smuggle (CVE-2021-41190).
void refuse_members(const Json& json, std::initializer_list<const char*> names, const char* kind,
                    const char* other) {
    for (const char* name : names) {
        if (json.contains(name)) {
            throw Error(Errc::invalid, fmt::format("{} must not have the member '{}', which makes it {} too",
                                                   kind, name, other));
        }
    }
}

}  // namespace

void check_member_case(const Json& json, std::initializer_list<const char*> known) {
    const auto lowered = [](std::string_view text) {
        std::string low(text);
        for (char& c : low) {
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        }
        return low;
    };
    for (const auto& member : json.as_object()) {
        const std::string low = lowered(member.first);
        for (const char* name : known) {
            if (member.first != name && low == lowered(name)) {
                throw Error(Errc::invalid,
                            fmt::format("member '{}' must be spelled '{}'", member.first, name));
            }
        }
    }
}

std::map<std::string, std::string> string_map(const Json& json, const char* member) {
    std::map<std::string, std::string> all;
    const Json& value = json[member];
    if (value.is_null()) return all;
    doing(fmt::format("member '{}'", member), [&] {
        for (const auto& item : value.as_object()) {
            // Go reads null into a string as "".
            all[item.first] = item.second.is_null() ? std::string() : item.second.as_string();
        }
    });
    return all;
}

Json string_map_json(const std::map<std::string, std::string>& map) {
    Json json = Json::object();
    for (const auto& [name, value] : map) json.set(name, value);
    return json;
}

// ---- descriptors

Json Descriptor::to_json() const {
    Json json = Json::object();
    json.set("mediaType", media_type).set("digest", digest.str()).set("size", size);
    json.set_if("annotations", string_map_json(annotations));
    if (platform) {
        Json p = Json::object();
        p.set("architecture", platform->architecture)
            .set("os", platform->os)
            .set_if("variant", platform->variant);
        json.set("platform", std::move(p));
    }
    return json;
}

Descriptor Descriptor::from_json(const Json& json) {
    check_member_case(
        json, {"mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"});
    for (const char* name : {"mediaType", "digest", "size"}) {
        if (!json.contains(name))
            throw Error(Errc::invalid, fmt::format("a descriptor has no member '{}'", name));
    }
    Descriptor descriptor{.media_type = json.string_or("mediaType"),
                          .digest = Digest::parse(json.string_or("digest"))};
    if (!is_media_type(descriptor.media_type)) {
        throw Error(Errc::invalid,
                    fmt::format("{} is not a media type", json_quote(descriptor.media_type.substr(0, 200))));
    }
    descriptor.size = doing("member 'size'", [&] { return json["size"].as_size(); });
    descriptor.annotations = string_map(json, "annotations");
    if (const Json& platform = json["platform"]; !platform.is_null()) {
        descriptor.platform = doing("member 'platform'", [&] { return platform_from_json(platform); });
    }
    if (const Json& data = json["data"]; !data.is_null()) {
        const auto bytes =
            decode_base64(doing("member 'data'", [&]() -> const std::string& { return data.as_string(); }));
        if (!bytes) throw Error(Errc::invalid, "member 'data' is not base64");
        if (bytes->size() != descriptor.size || !has_digest(*bytes, descriptor.digest)) {
            throw Error(
                Errc::invalid,
                fmt::format("member 'data' does not have the size {} and the digest {} of its descriptor",
                            descriptor.size, descriptor.digest.str()));
        }
    }
    return descriptor;
}

std::string Descriptor::annotation(const char* name) const {
    const auto found = annotations.find(name);
    return found == annotations.end() ? std::string() : found->second;
}

// ---- manifests and indexes

std::string Manifest::to_json() const {
    Json json = Json::object();
    json.set("schemaVersion", kSchemaVersion).set("mediaType", media_type).set("config", config.to_json());
    Json list = Json::array();
    for (const Descriptor& layer : layers) list.push_back(layer.to_json());
    json.set("layers", std::move(list));
    return json.dump();
}

Manifest Manifest::parse(std::string_view text, const std::string& what) {
    const Json json = Json::parse(text, what);
    return doing(what, [&] {
        check_member_case(json, {"schemaVersion", "mediaType", "artifactType", "config", "layers",
                                 "manifests", "subject", "annotations"});
        check_schema_version(json);
        refuse_members(json, {"manifests"}, "a manifest", "an index");
        Manifest manifest{.media_type = json.string_or("mediaType", media_type::kManifest),
                          .config = doing("member 'config'",
                                          [&] {
                                              if (!json.contains("config"))
                                                  throw Error(Errc::invalid, "it is missing");
                                              return Descriptor::from_json(json["config"]);
                                          }),
                          .layers = descriptors(json, "layers")};
        if (!is_manifest_type(manifest.media_type)) {
            throw Error(Errc::invalid, fmt::format("its mediaType is {}, which is no image manifest's",
                                                   json_quote(manifest.media_type.substr(0, 200))));
        }
        if (manifest.config.media_type == media_type::kEmpty && json.string_or("artifactType").empty()) {
            throw Error(Errc::invalid, "its config is the empty one, so it must have an 'artifactType'");
        }
        string_map(json, "annotations");
        return manifest;
    });
}

std::string Index::to_json() const {
    Json json = Json::object();
    json.set("schemaVersion", kSchemaVersion).set("mediaType", media_type);
    Json list = Json::array();
    for (const Descriptor& manifest : manifests) list.push_back(manifest.to_json());
    json.set("manifests", std::move(list));
    return json.dump();
}

Index Index::parse(std::string_view text, const std::string& what) {
    const Json json = Json::parse(text, what);
    return doing(what, [&] {
        check_member_case(json, {"schemaVersion", "mediaType", "artifactType", "config", "layers",
                                 "manifests", "subject", "annotations"});
        check_schema_version(json);
        refuse_members(json, {"config", "layers"}, "an index", "a manifest");
        Index index{.media_type = json.string_or("mediaType", media_type::kIndex),
                    .manifests = descriptors(json, "manifests")};
        if (!is_index_type(index.media_type)) {
            throw Error(Errc::invalid, fmt::format("its mediaType is {}, which is no index's",
                                                   json_quote(index.media_type.substr(0, 200))));
        }
        string_map(json, "annotations");
        return index;
    });
}

// ---- media types

bool is_index_type(const std::string& type) {
    return type == media_type::kIndex || type == media_type::kDockerList;
}
bool is_manifest_type(const std::string& type) {
    return type == media_type::kManifest || type == media_type::kDockerManifest;
}
bool is_config_type(const std::string& type) {
    return type == media_type::kConfig || type == media_type::kDockerConfig;
}

std::optional<Compression> layer_compression(const std::string& type) {
    // The nondistributable ones are deprecated but still met (Windows base layers).
    static const std::map<std::string, Compression, std::less<>> kTypes = {
        {media_type::kLayer, Compression::none},
        {media_type::kLayerGzip, Compression::gzip},
        {media_type::kLayerZstd, Compression::zstd},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::none},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::gzip},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::zstd},
        {media_type::kDockerLayer, Compression::none},
        {media_type::kDockerLayerGzip, Compression::gzip},
        {"application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::zstd},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar", Compression::none},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::gzip},
    };
    const auto found = kTypes.find(type);
    if (found == kTypes.end()) return std::nullopt;
    return found->second;
}

std::string layer_media_type(Compression compression) {
    switch (compression) {
        case Compression::none:
            return media_type::kLayer;
        case Compression::gzip:
            return media_type::kLayerGzip;
        case Compression::zstd:
            return media_type::kLayerZstd;
        default:
            break;
    }
    throw Error(Errc::unsupported,
                fmt::format("a layer cannot be compressed with {}: OCI knows gzip and zstd only",
                            to_string(compression)))
        .hint("use gzip or zstd");
}

// ---- platforms

namespace {

std::string lower(std::string text) {
    for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return text;
}

/// The one spelling of each platform that everyone compares (containerd/platforms, "normalize").
Platform normalised(Platform p) {
    p.os = lower(p.os);
    p.architecture = lower(p.architecture);
    p.variant = lower(p.variant);
    if (p.os == "macos") p.os = "darwin";
    if (p.architecture == "i386") {
        p.architecture = "386";
        p.variant.clear();
    } else if (p.architecture == "x86_64" || p.architecture == "x86-64" || p.architecture == "amd64") {
        p.architecture = "amd64";
        if (p.variant == "v1") p.variant.clear();
    } else if (p.architecture == "aarch64" || p.architecture == "arm64") {
        p.architecture = "arm64";
        if (p.variant == "8" || p.variant == "v8" || p.variant == "v8.0") p.variant.clear();
    } else if (p.architecture == "armhf") {
        p.architecture = "arm";
        p.variant = "v7";
    } else if (p.architecture == "armel") {
        p.architecture = "arm";
        p.variant = "v6";
    } else if (p.architecture == "arm") {
        if (p.variant.empty() || p.variant == "7") p.variant = "v7";
        if (p.variant == "5" || p.variant == "6" || p.variant == "8") p.variant = "v" + p.variant;
    }
    return p;
}

/// What a machine runs, best first: architecture and variant.
std::vector<std::pair<std::string, std::string>> runs(const Platform& wanted) {
    std::vector<std::pair<std::string, std::string>> all{{wanted.architecture, wanted.variant}};
    const auto down_from = [&](int newest, int oldest, const std::string& architecture) {
        for (int v = newest; v >= oldest; --v) all.emplace_back(architecture, fmt::format("v{}", v));
    };
    const bool numbered = wanted.variant.size() == 2 && wanted.variant[0] == 'v' &&
                          wanted.variant[1] >= '1' && wanted.variant[1] <= '9';
    const int variant = numbered ? wanted.variant[1] - '0' : 0;
    if (wanted.architecture == "amd64") {
        down_from(variant - 1, 2, "amd64");
        all.emplace_back("amd64", "");
        all.emplace_back("386", "");
    } else if (wanted.architecture == "arm") {
        down_from(variant - 1, 5, "arm");
    } else if (wanted.architecture == "arm64") {
        // v9.y runs v8.(y+5) and older; whatever the minor version, plain arm64 is v8.0.
        if (wanted.variant.size() == 4 && wanted.variant[2] == '.' &&
            (wanted.variant[1] == '8' || wanted.variant[1] == '9')) {
            const char minor = wanted.variant[3];
            const bool nine = wanted.variant[1] == '9';
            for (char m = minor; nine && m-- > '0';) all.emplace_back("arm64", fmt::format("v9.{}", m));
            if (nine) all.emplace_back("arm64", "v9");
            for (char m = nine ? static_cast<char>(std::min<int>(minor + 6, '9' + 1)) : minor; m-- > '1';) {
                all.emplace_back("arm64", fmt::format("v8.{}", m));
            }
        }
        all.emplace_back("arm64", "");
        down_from(8, 5, "arm");
    }
    return all;
}

bool is_attestation(const Descriptor& entry) {
    return !entry.annotation(annotation::kDockerReferenceType).empty() ||
           (entry.platform && entry.platform->os == "unknown");
}

}  // namespace

std::optional<unsigned> platform_rank(const Platform& offered, const Platform& wanted) {
    const Platform have = normalised(offered);
    const Platform want = normalised(wanted);
    if (have.os != want.os) return std::nullopt;
    const auto all = runs(want);
    const auto found = std::find(all.begin(), all.end(), std::pair(have.architecture, have.variant));
    if (found == all.end()) return std::nullopt;
    return static_cast<unsigned>(found - all.begin());
}

std::optional<Descriptor> select_platform(const Index& index, const Platform& platform) {
    constexpr unsigned kUnnamed = 1000;  // worse than any match
    std::optional<Descriptor> best;
    unsigned best_rank = 0;
    for (const Descriptor& entry : index.manifests) {
        if (is_attestation(entry)) continue;
        if (!is_manifest_type(entry.media_type) && !is_index_type(entry.media_type)) continue;
        const std::optional<unsigned> rank =
            entry.platform ? platform_rank(*entry.platform, platform) : kUnnamed;
        if (rank && (!best || *rank < best_rank)) {
            best = entry;
            best_rank = *rank;
        }
    }
    return best;
}

}  // namespace surcoat::registry
