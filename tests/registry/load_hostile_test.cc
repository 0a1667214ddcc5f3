// Documents and archives that must be refused; other programs accept many of them. (What a layer's own
// members may do is tested with the import.)
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <functional>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "registry/layout.h"
#include "registry/transport.h"
#include "tests/registry/layouts.h"

using namespace surcoat;
using namespace surcoat::registry;
using namespace surcoat::registry::test;
using Catch::Contains;

namespace {

const std::string kBase = test_base();
const std::string kTop = test_top();

}  // namespace

TEST_CASE("hostile and broken layouts are refused and leave nothing", "[registry][load][hostile]") {
    const std::string gz = compressed(kBase, Compression::gzip);
    const std::string gz_member = blob_member(Digest::of(gz));
    /// A layout of one gzip layer whose manifest was changed as text.
    const auto with_manifest = [](const std::function<void(Manifest&)>& change,
                                  const std::function<std::string(std::string)>& edit = {}) {
        Layout layout;
        const Descriptor good = layout.image({kBase}, Compression::gzip);
        Manifest manifest = Manifest::parse(layout.files.at(blob_member(good.digest)), "m");
        change(manifest);
        std::string text = manifest.to_json();
        if (edit) text = edit(text);
        layout.list(layout.blob(text, media_type::kManifest), "shop:1");
        return layout;
    };
    const auto with_config = [&](const std::function<std::string(std::string)>& edit) {
        Layout layout;
        const Descriptor good = layout.image({kBase}, Compression::gzip);
        Manifest manifest = Manifest::parse(layout.files.at(blob_member(good.digest)), "m");
        manifest.config =
            layout.blob(edit(layout.files.at(blob_member(manifest.config.digest))), media_type::kConfig);
        layout.list(layout.blob(manifest.to_json(), media_type::kManifest), "shop:1");
        return layout;
    };
    const auto replaced = [](const std::string& from, const std::string& to) {
        return [from, to](std::string text) {
            const std::size_t at = text.find(from);
            REQUIRE(at != std::string::npos);
            return text.replace(at, from.size(), to);
        };
    };
    const auto nothing = [](Manifest&) {};
    struct Row {
        std::string what;
        Layout layout;
        std::string message;
    };
    std::vector<Row> rows;
    const auto add = [&](const std::string& what, Layout layout, const std::string& message) {
        rows.push_back({what, std::move(layout), message});
    };
    const auto changed = [&](const std::function<void(Layout&)>& change) {
        Layout layout;
        layout.list(layout.image({kBase}, Compression::gzip), "shop:1");
        layout.complete();
        change(layout);
        return layout;
    };
    const auto index_text = [&](const std::string& from, const std::string& to) {
        return changed([&](Layout& l) { l.files[kIndexFile] = replaced(from, to)(l.files[kIndexFile]); });
    };
    const auto member_of_manifest = [](const Layout& l) { return blob_member(l.index.manifests[0].digest); };

    add("layer with other bytes", changed([&](Layout& l) { l.files[gz_member][30] ^= 1; }), "layer 1/1");
    add("layer cut off", changed([&](Layout& l) { l.files[gz_member].resize(gz.size() / 2); }),
        "its descriptor says");
    add("layer missing", changed([&](Layout& l) { l.files.erase(gz_member); }), "is missing");
    add("manifest with other bytes", changed([&](Layout& l) { l.files[member_of_manifest(l)].back() = ' '; }),
        "has the digest sha256:");
    add("manifest missing", changed([&](Layout& l) { l.files.erase(member_of_manifest(l)); }), "is missing");
    add("manifest's size too big", index_text("\"size\":", "\"size\":1"), "its descriptor says 1");
    add("manifest's size negative", index_text("\"size\":", "\"size\":-"), "expected a size, found -");
    add("manifest's size a float", index_text("\"size\":", "\"size\":0."),
        "expected an integer, found a number");
    add("manifest's size beyond int64", index_text("\"size\":", "\"size\":99999999999999999999"),
        "expected an integer, found a number");
    add("digest that is a path", index_text("sha256:", "sha256:../../../etc/"), "is not a digest");
    add("digest of md5", index_text("sha256:", "md5:"), "the algorithm 'md5'");
    add("index.json twice a key",
        index_text("{\"schemaVersion\":2", "{\"schemaVersion\":2,\"schemaVersion\":2"), "twice");
    add("index.json that is a manifest", index_text("\"manifests\"", "\"layers\":[],\"manifests\""),
        "which makes it a manifest too");
    add("index.json empty",
        changed([](Layout& l) { l.files[kIndexFile] = R"({"schemaVersion":2,"manifests":[]})"; }),
        "names no image");
    add("index.json cut off", changed([](Layout& l) { l.files[kIndexFile].resize(20); }),
        "index.json is not valid JSON");
    add("oci-layout missing", changed([](Layout& l) { l.files.erase(kLayoutFile); }),
        "'oci-layout' is missing");
    add("oci-layout of another version",
        changed([](Layout& l) { l.files[kLayoutFile] = R"({"imageLayoutVersion":"2.0.0"})"; }),
        "expected \"1.0.0\"");
    add("manifest's type is not its descriptor's",
        with_manifest([](Manifest& m) { m.media_type = media_type::kDockerManifest; }),
        "it says itself that it is");
    add("schemaVersion 1", with_manifest(nothing, replaced("\"schemaVersion\":2", "\"schemaVersion\":1")),
        "schemaVersion is 1");
    add("manifest that is an index",
        with_manifest(nothing, replaced("\"layers\"", "\"manifests\":[],\"layers\"")),
        "makes it an index too");
    add("a key twice", with_manifest(nothing, replaced("\"layers\"", "\"layers\":[],\"layers\"")),
        "has the member \"layers\" twice");
    add("manifest of 5 MB",
        with_manifest(nothing, replaced("\"layers\"", "\"annotations\":{\"a\":\"" +
                                                          std::string(5 << 20, 'a') + "\"},\"layers\"")),
        "at most");
    add("layer's size too small", with_manifest([](Manifest& m) { --m.layers[0].size; }),
        "its descriptor says");
    add("layer's size too big", with_manifest([](Manifest& m) { ++m.layers[0].size; }),
        "its descriptor says");
    add("unknown layer type",
        with_manifest([](Manifest& m) { m.layers[0].media_type = "application/x-layer"; }),
        "none that can be unpacked");
    add("sha512", with_manifest([](Manifest& m) {
            m.layers[0].digest = Digest::parse("sha512:" + std::string(128, 'a'));
        }),
        "is not a sha256 digest");
    add("layers but no diff_ids", with_manifest([](Manifest& m) { m.layers.push_back(m.layers[0]); }),
        "it has 2 layers, but its configuration has 1 diff_ids");
    add("diff_ids but no layers", with_manifest([](Manifest& m) { m.layers.clear(); }), "it has 0 layers");
    add("wrong diff_id",
        with_config(replaced(std::string(diff_id(kBase).digest.hex()), std::string(64, '0'))), "layer 1/1");
    add("rootfs.type", with_config(replaced("\"type\":\"layers\"", "\"type\":\"docker\"")),
        "expected \"layers\"");
    add("config with a key twice",
        with_config(replaced("\"os\":\"linux\"", "\"os\":\"linux\",\"os\":\"linux\"")), "twice");
    add("gzip cut off, digest right", changed([&](Layout& l) {
            Manifest m = Manifest::parse(l.files[member_of_manifest(l)], "m");
            m.layers[0] = l.blob(gz.substr(0, gz.size() - 12), media_type::kLayerGzip);
            l.index.manifests.clear();
            l.files.erase(kIndexFile);
            l.list(l.blob(m.to_json(), media_type::kManifest), "shop:1");
        }),
        "layer 1/1");
    add("gzip with garbage behind it", changed([&](Layout& l) {
            Manifest m = Manifest::parse(l.files[member_of_manifest(l)], "m");
            m.layers[0] = l.blob(gz + "garbage", media_type::kLayerGzip);
            l.index.manifests.clear();
            l.files.erase(kIndexFile);
            l.list(l.blob(m.to_json(), media_type::kManifest), "shop:1");
        }),
        "layer 1/1");

    for (Row& row : rows) {
        for (const bool directory : {false, true}) {
            INFO(row.what << (directory ? ", directory" : ", archive"));
            TestStore t;
            Recorder recorder;
            std::string message;
            if (directory) {
                row.layout.write(t.directory.path() / "layout");
                message = error_of(
                    [&] { load_images(t.store, (t.directory.path() / "layout").string(), recorder); });
            } else {
                std::vector<std::pair<std::string, std::string>> members(row.layout.files.begin(),
                                                                         row.layout.files.end());
                if (row.what.find("missing") == std::string::npos) row.layout.complete();
                members.assign(row.layout.files.begin(), row.layout.files.end());
                message = error_of([&] { load_bytes(t, tar_of(members), recorder); });
            }
            if (directory && row.what == "oci-layout missing") continue;  // write() adds it again
            CHECK_THAT(message, Contains(row.message));
            CHECK_THAT(message, Contains("cannot load '"));
            CHECK(is_empty(t.store));
        }
    }
}

TEST_CASE("a layout whose blobs are links, fifos or folders is refused", "[registry][load][hostile]") {
    Layout layout = two_layers(Compression::gzip);
    const std::string member = blob_member(Digest::of(compressed(kBase, Compression::gzip)));
    TestStore t;
    Recorder recorder;
    const auto directory = t.directory.path() / "layout";
    layout.write(directory);
    const auto error = [&] { return error_of([&] { load_images(t.store, directory.string(), recorder); }); };
    SECTION("a blob is a link out of it, to the right bytes") {
        std::filesystem::rename(directory / member, t.directory.path() / "outside");
        std::filesystem::create_symlink(t.directory.path() / "outside", directory / member);
        CHECK_THAT(error(), Contains("is, or lies behind, a symbolic link"));
    }
    SECTION("a blob is a link within") {
        std::filesystem::rename(directory / member, directory / "inside");
        std::filesystem::create_symlink("../../inside", directory / member);
        CHECK_THAT(error(), Contains("is, or lies behind, a symbolic link"));
    }
    SECTION("the folder of blobs is a link") {
        std::filesystem::rename(directory / "blobs", t.directory.path() / "blobs");
        std::filesystem::create_symlink(t.directory.path() / "blobs", directory / "blobs");
        CHECK_THAT(error(), Contains("is, or lies behind, a symbolic link"));
    }
    SECTION("a blob is a fifo") {
        std::filesystem::remove(directory / member);
        REQUIRE(::mkfifo((directory / member).c_str(), 0644) == 0);
        CHECK_THAT(error(), Contains("is not a regular file"));
    }
    SECTION("a blob is a folder") {
        std::filesystem::remove(directory / member);
        std::filesystem::create_directory(directory / member);
        CHECK_THAT(error(), Contains("is not a regular file"));
    }
    SECTION("a blob in an archive is a link") {
        StringSink sink;
        TarWriter tar(sink);
        Entry link;
        link.path = member;
        link.inode.type = FileType::symlink;
        link.inode.link_target = "../../inside";
        tar.entry(link);
        layout.files["inside"] = layout.files.at(member);
        layout.files.erase(member);
        CHECK_THAT(error_of([&] { load_bytes(t, sink.text + layout.tar(), recorder); }),
                   Contains("is a link; an image layout has none"));
    }
    CHECK(is_empty(t.store));
}

TEST_CASE("archives that are none, or say two things, are refused", "[registry][load][hostile]") {
    Layout layout = two_layers(Compression::gzip);
    LegacyArchive legacy({kBase});
    const auto legacy_with = [&](const std::string& manifest) {
        auto files = legacy.files;
        files.back().second = manifest;
        return tar_of(files);
    };
    const std::string config = legacy.files[1].first;
    const std::string layer = legacy.files[0].first;
    auto twice = legacy.files;
    twice.push_back({"./" + layer, "other"});
    auto other_config = legacy.files;
    other_config[1].second += " ";
    auto other_layer = legacy.files;
    other_layer[0].second = kTop;
    const std::tuple<std::string, std::string, std::string> rows[] = {
        {"nothing", "", "neither an index.json"},
        {"text", std::string(3000, 'x'), "tar"},
        {"a root filesystem", kBase, "a root filesystem becomes an image by `surcoat import`"},
        {"cut off", layout.tar().substr(0, 2000), "tar archive is damaged"},
        {"compressed and cut off", compressed(layout.tar(), Compression::gzip).substr(0, 900), "cannot load"},
        {"a member twice", tar_of(twice), "the archive has two members '" + layer + "'"},
        {"a member outside",
         tar_of({{"manifest.json", legacy.files.back().second}}).substr(0, 1024) +
             [] {
                 std::string t = tar_of({{"xx/evil", "1"}});
                 t[0] = '.';
                 t[1] = '.';
                 unsigned sum = 0;
                 for (int i = 0; i < 512; ++i)
                     sum += i >= 148 && i < 156 ? ' '
                                                : static_cast<unsigned char>(t[static_cast<std::size_t>(i)]);
                 char text[8];
                 std::snprintf(text, sizeof text, "%06o", sum);
                 t.replace(148, 7, std::string(text, 7));
                 return t;
             }(),
         ".."},
        {"manifest.json of dir:", tar_of({{"manifest.json", R"({"schemaVersion":2})"}}),
         "skopeo copy dir:PATH"},
        {"manifest.json empty", legacy_with("[]"), "it names no image"},
        {"manifest.json without Config", legacy_with(R"([{"Layers":[]}])"), "member 'Config' is missing"},
        {"Config outside", legacy_with(R"([{"Config":"../x.json","Layers":[]}])"), ".."},
        {"Config missing", legacy_with(R"([{"Config":"x.json","Layers":[]}])"), "'x.json' is missing"},
        {"a layer too few", legacy_with(R"([{"Config":")" + config + R"(","Layers":[]}])"),
         "lists 0 layers, but"},
        {"a layer missing", legacy_with(R"([{"Config":")" + config + R"(","Layers":["x.tar"]}])"),
         "'x.tar' is missing"},
        {"keys in another case", legacy_with(R"([{"config":"x"}])"), "'config' must be spelled 'Config'"},
        {"config is not what it is called", tar_of(other_config), "not that of its name"},
        {"layer is not the diff_id", tar_of(other_layer), "layer 1/1"},
    };
    for (const auto& [what, bytes, message] : rows) {
        INFO(what);
        TestStore t;
        Recorder recorder;
        const std::string found = error_of([&, &archive = bytes] { load_bytes(t, archive, recorder); });
        CHECK_THAT(found, Contains(message));
        CHECK(is_empty(t.store));
    }
    TestStore t;
    Recorder recorder;
    CHECK_THAT(error_of([&] { load_images(t.store, "/nonexistent.tar", recorder); }),
               Contains("No such file or directory"));
}

TEST_CASE("an archive that grows out of proportion is stopped", "[registry][load][hostile]") {
    TestStore t;
    Recorder recorder;
    Layout layout;
    layout.files["zeros"] = std::string(160 << 20, '\0');
    const std::string bomb = compressed(layout.tar(), Compression::zstd);
    REQUIRE(bomb.size() < 160'000);
    CHECK_THAT(error_of([&] { load_bytes(t, bomb, recorder); }), Contains("grows more than 1000 times"));
    CHECK(is_empty(t.store));
}
