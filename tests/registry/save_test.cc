#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/store/transaction.h"
#include "registry/layout.h"
#include "registry/transport.h"
#include "tests/registry/layouts.h"

using namespace surcoat;
using namespace surcoat::registry;
using namespace surcoat::registry::test;
using Catch::Contains;

namespace {

const std::string kBase = layer_tar({{"etc/os-release", "ID=test\n"}, {"hello", std::string(300'000, 'h')}});
const std::string kTop = layer_tar({{"srv/app", "app"}});

struct Saved {
    std::string bytes;
    std::vector<std::string> lines;
};
Saved save(Store& store, const std::vector<std::string>& names, ArchiveFormat format,
           Compression compression = Compression::none) {
    StringSink sink;
    Saved saved;
    saved.lines = save_images(store, names, {.format = format, .compression = compression}, sink);
    saved.bytes = std::move(sink.text);
    return saved;
}

std::vector<LoadedImage> load(TestStore& t, const std::string& bytes) {
    return load_images(t.store, put(t.directory.path() / "in.tar", bytes), no_progress());
}

/// gzip as others write it: same content, other bytes than ours.
std::string foreign_gzip(const std::string& plain) {
    std::string bytes = compressed(plain, Compression::gzip);
    bytes[4] = 1;  // MTIME
    return bytes;
}

/// A layout of the two layers, compressed by somebody else if `foreign`.
Layout layout_of(Compression compression, bool foreign) {
    Layout layout;
    Descriptor image = layout.image({kBase, kTop}, compression);
    if (foreign) {
        Manifest manifest = Manifest::parse(layout.files.at(blob_member(image.digest)), "m");
        manifest.layers[0] = layout.blob(foreign_gzip(kBase), media_type::kLayerGzip);
        // An annotation that our types do not know must survive.
        std::string text = manifest.to_json();
        text.insert(text.size() - 1, R"(,"annotations":{"a":"b"})");
        image = layout.blob(text, manifest.media_type);
    }
    layout.list(image, "shop:1");
    return layout;
}

}  // namespace

TEST_CASE("what was loaded is saved again with the same digests wherever that is possible",
          "[registry][save]") {
    struct Row {
        Compression layers;
        bool foreign;
        KeepBlobs keep;
        bool identical;
    };
    const Row rows[] = {
        {Compression::none, false, KeepBlobs::automatic, true},
        {Compression::none, false, KeepBlobs::always, true},
        {Compression::none, false, KeepBlobs::never, true},
        {Compression::gzip, false, KeepBlobs::automatic, true},
        {Compression::gzip, false, KeepBlobs::never,
         true},  // our own compressor made it, so it is made again
        {Compression::zstd, false, KeepBlobs::never, true},
        {Compression::zstd, false, KeepBlobs::always, true},
        {Compression::gzip, true, KeepBlobs::automatic, true},
        {Compression::gzip, true, KeepBlobs::always, true},
        {Compression::gzip, true, KeepBlobs::never, false},
    };
    for (const Row& row : rows) {
        for (const ArchiveFormat format :
             {ArchiveFormat::docker_archive, ArchiveFormat::oci_archive, ArchiveFormat::oci_directory}) {
            INFO(to_string(row.layers) << " foreign=" << row.foreign << " keep=" << static_cast<int>(row.keep)
                                       << " format=" << static_cast<int>(format));
            TestStore t(row.keep);
            Layout layout = layout_of(row.layers, row.foreign);
            load(t, layout.tar());
            const Digest original = layout.index.manifests[0].digest;
            TestStore u;
            std::vector<std::string> lines;
            std::vector<LoadedImage> loaded;
            if (format == ArchiveFormat::oci_directory) {
                lines = save_images(t.store, {"shop:1"}, {.format = format}, t.directory.path() / "out");
                loaded = load_images(u.store, (t.directory.path() / "out").string(), no_progress());
            } else {
                const Saved saved = save(t.store, {"shop:1"}, format);
                CHECK(save(t.store, {"shop:1"}, format).bytes == saved.bytes);
                lines = saved.lines;
                loaded = load(u, saved.bytes);
            }
            REQUIRE(loaded.size() == 1);
            CHECK(loaded[0].names == std::vector<std::string>{"shop:1"});
            CHECK(essence_of(u.store, "shop:1") == essence_of(t.store, "shop:1"));
            const Digest manifest = ImageStore(u.store).get("shop:1").row.manifest;
            CHECK((manifest == original) == row.identical);
            REQUIRE(lines.size() == 1);
            if (row.identical) {
                CHECK(lines[0] == "shop:1: manifest " + original.str() + ", bit-identical: yes");
            } else {
                CHECK_THAT(lines[0], Contains("shop:1: manifest " + manifest.str() +
                                              ", bit-identical: no, because layer") &&
                                         Contains("came as gzip and its bytes were not kept (keep-blobs)"));
                CHECK_THAT(u.store.read_blob(manifest), Contains(R"("annotations":{"a":"b"})"));
            }
        }
    }
}

TEST_CASE("a compression that is asked for changes plain layers and only these", "[registry][save]") {
    for (const Compression compression : {Compression::gzip, Compression::zstd}) {
        TestStore t;
        load(t, layout_of(Compression::none, false).tar());
        const Saved saved = save(t.store, {"shop:1"}, ArchiveFormat::oci_archive, compression);
        CHECK_THAT(saved.lines.at(0), Contains("bit-identical: no, because compression with " +
                                               std::string(to_string(compression)) + " was asked for"));
        CHECK(saved.bytes == save(t.store, {"shop:1"}, ArchiveFormat::oci_archive, compression).bytes);
        TestStore u;
        load(u, saved.bytes);
        const Manifest manifest =
            Manifest::parse(u.store.read_blob(ImageStore(u.store).get("shop:1").row.manifest), "m");
        CHECK(manifest.layers.at(0).digest == Digest::of(compressed(kBase, compression)));
        CHECK(manifest.layers.at(0).media_type == layer_media_type(compression));
        CHECK(essence_of(u.store, "shop:1") == essence_of(t.store, "shop:1"));
        // Kept gzip layers stay what they are.
        CHECK_THAT(save(u.store, {"shop:1"}, ArchiveFormat::oci_archive, Compression::zstd).lines.at(0),
                   Contains("bit-identical: yes"));
    }
    TestStore t;
    load(t, layout_of(Compression::none, false).tar());
    CHECK_THAT(error_of([&] { save(t.store, {"shop:1"}, ArchiveFormat::oci_archive, Compression::xz); }),
               Contains("OCI knows gzip and zstd only"));
}

TEST_CASE("several images share what they have in common in an archive", "[registry][save]") {
    TestStore t;
    Layout layout;
    layout.list(layout.image({kBase, kTop}), "one:1");
    layout.list(layout.image({kBase}), "two:1");
    load(t, layout.tar());
    ImageStore(t.store).tag("one:1", "localhost:5000/also:2");
    const std::string id = ImageStore(t.store).get("two:1").row.id.short_hex();
    const Saved saved = save(t.store, {"one:1", "localhost:5000/also:2", id}, ArchiveFormat::docker_archive);
    CHECK(saved.lines.size() == 2);
    CHECK(saved.bytes.size() < kBase.size() + kTop.size() + 20'000);
    CHECK_THAT(saved.bytes,
               Contains(R"("RepoTags":["one:1","localhost:5000/also:2"])") && Contains(R"("RepoTags":null)"));
    CHECK_THAT(saved.bytes, Contains(R"("org.opencontainers.image.ref.name":"one:1")") &&
                                Contains(R"("io.containerd.image.name":"localhost:5000/also:2")"));
    TestStore u;
    const auto loaded = load(u, saved.bytes);
    REQUIRE(loaded.size() == 2);
    CHECK(loaded[0].names == std::vector<std::string>{"one:1", "localhost:5000/also:2"});
    CHECK(loaded[1].names.empty());
}

TEST_CASE("a saved docker-archive has the members of both forms, in order, without times",
          "[registry][save]") {
    TestStore t;
    load(t, layout_of(Compression::gzip, false).tar());
    const Saved saved = save(t.store, {"shop:1"}, ArchiveFormat::docker_archive);
    MemorySource source(saved.bytes);
    TarReader tar(source, nullptr);
    std::vector<std::string> names;
    while (const auto member = tar.next()) {
        names.push_back(member->path);
        CHECK(member->inode.mtime == Timestamp{});
        CHECK(member->inode.uid == 0);
        CHECK(member->inode.mode == (member->inode.type == FileType::directory ? 0755 : 0644));
    }
    REQUIRE(names.size() == 9);
    CHECK(std::is_sorted(names.begin(), names.end()));
    CHECK(names[0] == "blobs/");
    CHECK(std::vector<std::string>(names.end() - 3, names.end()) ==
          std::vector<std::string>{"index.json", "manifest.json", "oci-layout"});
}

TEST_CASE("saving says what is wrong and leaves nothing", "[registry][save]") {
    TestStore t;
    load(t, layout_of(Compression::gzip, true).tar());
    CHECK_THAT(error_of([&] { save(t.store, {"shpo:1"}, ArchiveFormat::oci_archive); }),
               Contains("did you mean 'shop:1'?"));
    CHECK_THAT(error_of([&] { save(t.store, {}, ArchiveFormat::oci_archive); }),
               Contains("no image was named"));
    const auto out = t.directory.path() / "out";
    std::filesystem::create_directory(out);
    put(out / "mine", "x");
    const auto to_directory = [&](const std::filesystem::path& directory) {
        return error_of(
            [&] { save_images(t.store, {"shop:1"}, {.format = ArchiveFormat::oci_directory}, directory); });
    };
    CHECK_THAT(to_directory(out), Contains("exists already and is not empty"));
    CHECK(read_file(out / "mine") == "x");
    CHECK_THAT(to_directory(out / "mine"), Contains("exists already"));
    std::filesystem::remove(out / "mine");
    CHECK(to_directory(out).empty());  // an empty one is fine
    CHECK(std::filesystem::exists(out / "index.json"));
    CHECK(to_directory(t.directory.path() / "new" / "er" / "").empty());
    CHECK(std::filesystem::exists(t.directory.path() / "new" / "er" / "index.json"));

    // A damaged blob is found while it is written.
    const auto blob = t.store.path("blobs/sha256") / std::string(Digest::of(foreign_gzip(kBase)).hex());
    std::filesystem::permissions(blob, std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
    std::string bytes = read_file(blob);
    bytes[50] ^= 1;
    put(blob, bytes);
    CHECK_THAT(to_directory(t.directory.path() / "bad"),
               Contains("is damaged: its bytes have the digest") && Contains("surcoat fsck"));
    for (const auto& entry : std::filesystem::directory_iterator(t.directory.path())) {
        CHECK(entry.path().filename().string().find("surcoat-save") == std::string::npos);
    }
    CHECK_FALSE(std::filesystem::exists(t.directory.path() / "bad"));
}

TEST_CASE("archive formats have names", "[registry][save]") {
    CHECK(parse_archive_format("oci-dir") == ArchiveFormat::oci_directory);
    CHECK(parse_archive_format("oci-archive") == ArchiveFormat::oci_archive);
    CHECK(parse_archive_format("docker-archive") == ArchiveFormat::docker_archive);
    CHECK_FALSE(parse_archive_format("oci"));
}

TEST_CASE("loaded under keep-blobs always, the store's root holds every blob of its images",
          "[registry][save][layout]") {
    for (const Compression compression : {Compression::none, Compression::gzip}) {
        TestStore t(KeepBlobs::always);
        Layout layout = layout_of(compression, false);
        load(t, layout.tar());
        for (const auto& [name, bytes] : layout.files) {
            if (name.starts_with("blobs/")) CHECK(read_file(t.store.root() / name) == bytes);
        }
        TestStore u;
        CHECK(load_images(u.store, t.store.root().string(), no_progress()).at(0).names ==
              std::vector<std::string>{"shop:1"});
        CHECK(ImageStore(u.store).get("shop:1").row.manifest == layout.index.manifests[0].digest);
    }
}
