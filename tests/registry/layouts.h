#pragma once
#include <map>
#include <string>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/progress.h"
#include "layers/base/temp_dir.h"
#include "layers/store/store.h"
#include "registry/oci.h"
#include "registry/transport.h"

namespace surcoat::registry::test {

/// Where tests keep their stores: in memory if there is room, since nothing here is about what survives a
/// power cut, and a hundred stores' catalogues are synced often; else "" (the usual place).
std::filesystem::path quick_directory();

/// A store of its own, gone with the object.
struct TestStore {
    explicit TestStore(KeepBlobs keep = KeepBlobs::automatic)
        : store({.root = directory.path() / "store", .keep_blobs = keep, .durability = Durability::fast}) {}
    TempDir directory{quick_directory()};
    Store store;
};

/// Remembers what it is told.
struct Recorder final : Progress {
    void note(std::string_view text) override { notes.emplace_back(text); }
    void warning(std::string_view text) override { warnings.emplace_back(text); }
    bool warned_of(std::string_view part) const;
    std::vector<std::string> notes;
    std::vector<std::string> warnings;
};

/// A layer's plain archive with these files (path → content), made by our own writer.
std::string layer_tar(const std::map<std::string, std::string>& files);
std::string compressed(const std::string& plain, Compression compression);
DiffId diff_id(const std::string& plain_tar);

/// An OCI layout under construction: member name → bytes. Everything about it can be made wrong on purpose.
struct Layout {
    std::map<std::string, std::string> files;
    Index index;

    /// Adds the bytes as a blob.
    Descriptor blob(const std::string& bytes, const std::string& media_type);
    /// Adds an image of these plain archives; its descriptor is not yet in the index.
    Descriptor image(const std::vector<std::string>& layers, Compression compression = Compression::none,
                     const Platform& platform = Platform::host());
    /// Puts a descriptor into index.json, under a name.
    void list(Descriptor descriptor, const std::string& name = {});
    /// Adds what is not there yet of oci-layout and index.json.
    void complete();
    void write(const std::filesystem::path& directory);
    /// As a tar archive: members in the order of their names, or backwards.
    std::string tar(bool backwards = false);
};

/// The two layers that most tests use, as plain archives.
std::string test_base();
std::string test_top();
/// A layout with these two, listed under a name.
Layout two_layers(Compression compression, const std::string& name = "shop:1");

/// A docker-archive as docker 20 and skopeo write them: the layers, then the configuration, then
/// manifest.json.
struct LegacyArchive {
    explicit LegacyArchive(const std::vector<std::string>& layers, const std::string& tags = R"(["shop:1"])",
                           Compression compression = Compression::none);
    std::vector<std::pair<std::string, std::string>> files;
    std::string id;
};

/// Loads from a file with these bytes.
std::vector<LoadedImage> load_bytes(TestStore& t, const std::string& bytes, Progress& progress);
/// Nothing is stored, staged, or left lying about.
bool is_empty(Store& store);

/// Any members as a tar archive.
std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files);
/// Writes `bytes` to a file and returns its path.
std::string put(const std::filesystem::path& path, const std::string& bytes);

/// What an image is, whatever it was packed in: its ID and the DiffIds of its layers.
struct Essence {
    std::string id;
    std::vector<std::string> diff_ids;
    bool operator==(const Essence&) const = default;
};
Essence essence_of(Store& store, const std::string& name);

/// The text of an Error that `body` throws, with its causes and hint; "" if it throws none.
template <typename Body>
std::string error_of(Body body) {
    try {
        body();
    } catch (const Error& e) { return std::string(e.what()) + "\n" + e.hint(); }
    return {};
}

}  // namespace surcoat::registry::test
