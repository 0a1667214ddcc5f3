#include "tests/registry/layouts.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/tar.h"
#include "registry/image_store.h"
#include "registry/layout.h"

namespace surcoat::registry::test {

std::filesystem::path quick_directory() {
    constexpr std::uint64_t kRoom = std::uint64_t{512} << 20;
    const char* memory = "/dev/shm";
    struct statvfs st {};
    const bool usable = std::getenv("TMPDIR") == nullptr && ::access(memory, W_OK) == 0 &&
                        ::statvfs(memory, &st) == 0 && std::uint64_t{st.f_bavail} * st.f_frsize > kRoom;
    return usable ? memory : "";
}

bool Recorder::warned_of(std::string_view part) const {
    return std::any_of(warnings.begin(), warnings.end(),
                       [&](const std::string& text) { return text.find(part) != std::string::npos; });
}

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files) {
    StringSink sink;
    TarWriter tar(sink);
    for (const auto& [path, content] : files) {
        Entry entry;
        entry.path = path;
        entry.inode.size = content.size();
        tar.entry(entry);
        if (!content.empty()) tar.content(as_bytes(content));
    }
    tar.finish();
    return sink.text;
}

std::string layer_tar(const std::map<std::string, std::string>& files) {
    return tar_of({files.begin(), files.end()});
}

std::string compressed(const std::string& plain, Compression compression) {
    StringSink sink;
    const auto compressor = compress(sink, compression);
    compressor->write(as_bytes(plain));
    compressor->finish();
    return sink.text;
}

DiffId diff_id(const std::string& plain_tar) {
    return DiffId{Digest::of(plain_tar)};
}

Descriptor Layout::blob(const std::string& bytes, const std::string& media_type) {
    const Descriptor descriptor{.media_type = media_type, .digest = Digest::of(bytes), .size = bytes.size()};
    files[blob_member(descriptor.digest)] = bytes;
    return descriptor;
}

Descriptor Layout::image(const std::vector<std::string>& layers, Compression compression,
                         const Platform& platform) {
    Image image;
    image.platform = platform;
    image.created = "2026-11-22T10:00:00Z";
    image.config.cmd = std::vector<std::string>{"/hello"};
    std::vector<Descriptor> descriptors;
    for (const std::string& layer : layers) {
        image.layers.push_back(diff_id(layer));
        image.history.push_back({.created_by = "test"});
        descriptors.push_back(blob(compressed(layer, compression), layer_media_type(compression)));
    }
    const Manifest manifest{.config = blob(write_config(image), media_type::kConfig), .layers = descriptors};
    return blob(manifest.to_json(), manifest.media_type);
}

void Layout::list(Descriptor descriptor, const std::string& name) {
    if (!name.empty()) descriptor.annotations[annotation::kRefName] = name;
    index.manifests.push_back(std::move(descriptor));
}

void Layout::complete() {
    files.emplace(kLayoutFile, kLayoutText);
    files.emplace(kIndexFile, index.to_json());
}

void Layout::write(const std::filesystem::path& directory) {
    complete();
    for (const auto& [name, bytes] : files) {
        std::filesystem::create_directories((directory / name).parent_path());
        put(directory / name, bytes);
    }
}

std::string Layout::tar(bool backwards) {
    complete();
    std::vector<std::pair<std::string, std::string>> members(files.begin(), files.end());
    if (backwards) std::reverse(members.begin(), members.end());
    return tar_of(members);
}

std::string test_base() {
    return layer_tar({{"etc/os-release", "ID=test\n"}, {"hello", std::string(5000, 'h')}});
}
std::string test_top() {
    return layer_tar({{"srv/app", "app"}});
}

Layout two_layers(Compression compression, const std::string& name) {
    Layout layout;
    layout.list(layout.image({test_base(), test_top()}, compression), name);
    return layout;
}

LegacyArchive::LegacyArchive(const std::vector<std::string>& layers, const std::string& tags,
                             Compression compression) {
    Image image;
    image.platform = Platform::host();
    std::string members;
    for (const std::string& layer : layers) {
        image.layers.push_back(diff_id(layer));
        const std::string member = std::string(diff_id(layer).digest.hex()) + ".tar";
        files.emplace_back(member, compressed(layer, compression));
        members += (members.empty() ? "\"" : ",\"") + member + "\"";
    }
    // Members and order that are not ours: the bytes must stay.
    std::string config = write_config(image);
    config.insert(1, R"("docker_version":"20.10.24", )");
    id = Digest::of(config).str();
    const std::string config_member = std::string(Digest::of(config).hex()) + ".json";
    files.emplace_back(config_member, config);
    files.emplace_back("manifest.json", R"([{"Config":")" + config_member + R"(","RepoTags":)" + tags +
                                            R"(,"Layers":[)" + members + "]}]");
}

std::vector<LoadedImage> load_bytes(TestStore& t, const std::string& bytes, Progress& progress) {
    return load_images(t.store, put(t.directory.path() / "archive.tar", bytes), progress);
}

bool is_empty(Store& store) {
    Catalogue& catalogue = store.catalogue();
    return catalogue.images().empty() && catalogue.names().empty() && catalogue.layers().empty() &&
           catalogue.blobs().empty() && std::filesystem::is_empty(store.path("blobs/sha256")) &&
           std::filesystem::is_empty(store.path("layers")) && std::filesystem::is_empty(store.path("tx"));
}

std::string put(const std::filesystem::path& path, const std::string& bytes) {
    write_file_durably(path, bytes);
    return path.string();
}

Essence essence_of(Store& store, const std::string& name) {
    const StoredImage image = ImageStore(store).get(name);
    Essence essence{.id = image.row.id.str(), .diff_ids = {}};
    for (const DiffId& layer : image.image.layers) essence.diff_ids.push_back(layer.str());
    return essence;
}

}  // namespace surcoat::registry::test
