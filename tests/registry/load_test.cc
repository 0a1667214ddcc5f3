#include <fcntl.h>
#include <unistd.h>

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

/// Standard input replaced by a pipe that holds `bytes` (which must fit into its buffer).
class PipedInput {
  public:
    explicit PipedInput(const std::string& bytes) : saved_(::dup(STDIN_FILENO)) {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        UniqueFd reading(ends[0]), writing(ends[1]);
        ::fcntl(writing.get(), F_SETPIPE_SZ, 1 << 20);
        REQUIRE(bytes.size() < (1 << 20));
        write_full(writing.get(), as_bytes(bytes));
        ::dup2(reading.get(), STDIN_FILENO);
    }
    ~PipedInput() { ::dup2(saved_.get(), STDIN_FILENO); }

  private:
    UniqueFd saved_;
};

}  // namespace

TEST_CASE("an OCI layout is loaded the same from a directory, a tar in any order, compressed, and a pipe",
          "[registry][load]") {
    for (const Compression layers : {Compression::none, Compression::gzip, Compression::zstd}) {
        Layout layout = two_layers(layers);
        const Digest manifest = layout.index.manifests.front().digest;
        const std::pair<std::string, std::function<std::string(const std::filesystem::path&)>> forms[] = {
            {"directory",
             [&](const auto& at) {
                 layout.write(at / "dir");
                 return (at / "dir").string();
             }},
            {"tar", [&](const auto& at) { return put(at / "a.tar", layout.tar()); }},
            {"tar backwards", [&](const auto& at) { return put(at / "a.tar", layout.tar(true)); }},
            {"tar.gz",
             [&](const auto& at) {
                 return put(at / "a.tar.gz", compressed(layout.tar(), Compression::gzip));
             }},
            {"tar.zst",
             [&](const auto& at) { return put(at / "a", compressed(layout.tar(true), Compression::zstd)); }},
            {"pipe", [&](const auto&) { return std::string("-"); }},
        };
        for (const auto& form : forms) {
            INFO(form.first << ", layers " << to_string(layers));
            TestStore t;
            Recorder recorder;
            const std::string path = form.second(t.directory.path());
            std::vector<LoadedImage> loaded;
            if (path == "-") {
                PipedInput input(layout.tar());
                loaded = load_images(t.store, path, recorder);
            } else {
                loaded = load_images(t.store, path, recorder);
            }
            REQUIRE(loaded.size() == 1);
            CHECK(loaded[0].names == std::vector<std::string>{"shop:1"});
            CHECK(recorder.warnings.empty());
            const StoredImage image = ImageStore(t.store).get("shop:1");
            CHECK(image.row.id == loaded[0].id);
            CHECK(image.row.manifest == manifest);
            CHECK(image.row.layers == std::vector<DiffId>{diff_id(kBase), diff_id(kTop)});
            StringSink archive;
            t.store.write_archive(diff_id(kBase), archive);
            CHECK(archive.text == kBase);
            CHECK(t.store.has_blob(Digest::of(compressed(kBase, layers))) == (layers != Compression::none));
            CHECK(t.store.tree(image.row.layers)->find("srv/app") != nullptr);
        }
    }
}

TEST_CASE("a docker-archive of either generation is loaded with its ID", "[registry][load][docker]") {
    SECTION("legacy, whatever the order of members and the compression of layers or archive") {
        for (const Compression layers : {Compression::none, Compression::gzip}) {
            for (const bool first : {false, true}) {
                for (const Compression whole : {Compression::none, Compression::gzip, Compression::zstd}) {
                    LegacyArchive archive({kBase, kTop}, R"(["shop:1","localhost/x:2"])", layers);
                    if (first) std::reverse(archive.files.begin(), archive.files.end());
                    TestStore t;
                    Recorder recorder;
                    const auto loaded = load_bytes(t, compressed(tar_of(archive.files), whole), recorder);
                    REQUIRE(loaded.size() == 1);
                    CHECK(loaded[0].id.str() == archive.id);
                    CHECK(loaded[0].names == std::vector<std::string>{"shop:1", "localhost/x:2"});
                    CHECK(essence_of(t.store, "localhost/x:2").id == archive.id);
                    CHECK(t.store.read_blob(loaded[0].id).find("docker_version") != std::string::npos);
                }
            }
        }
    }
    SECTION("legacy with layers as symlinks") {
        LegacyArchive archive({kBase});
        StringSink sink;
        TarWriter tar(sink);
        Entry link;
        link.path = "0123/layer.tar";
        link.inode.type = FileType::symlink;
        link.inode.mode = 0777;
        link.inode.link_target = "../" + archive.files[0].first;
        tar.entry(link);
        std::string& manifest = archive.files.back().second;
        manifest.replace(manifest.find(archive.files[0].first), archive.files[0].first.size(), link.path);
        const std::string bytes =
            sink.text + tar_of(archive.files);  // the link stands before what it points at
        TestStore t;
        Recorder recorder;
        CHECK(load_bytes(t, bytes, recorder).at(0).id.str() == archive.id);

        SECTION("that lead out of the archive") {
            link.inode.link_target = "../../" + archive.files[0].first;
            StringSink out;
            TarWriter other(out);
            other.entry(link);
            TestStore u;
            CHECK_THAT(error_of([&] { load_bytes(u, out.text + tar_of(archive.files), recorder); }),
                       Contains("leads out of the archive"));
            CHECK(is_empty(u.store));
        }
        SECTION("that lead to themselves") {
            link.inode.link_target = "layer.tar";
            StringSink out;
            TarWriter other(out);
            other.entry(link);
            TestStore u;
            CHECK_THAT(error_of([&] { load_bytes(u, out.text + tar_of(archive.files), recorder); }),
                       Contains("a link to a link"));
        }
    }
    SECTION("docker 25: a layout with a manifest.json") {
        Layout layout = two_layers(Compression::gzip, {});
        const Manifest manifest =
            Manifest::parse(layout.files.at(blob_member(layout.index.manifests[0].digest)), "m");
        const auto entry = [&](const std::string& config, const std::string& second_layer) {
            return R"([{"Config":")" + config + R"(","RepoTags":["shop:1"],"Layers":[")" +
                   blob_member(manifest.layers[0].digest) + "\",\"" + second_layer +
                   R"("],"LayerSources":{}}])";
        };
        layout.files["manifest.json"] =
            entry(blob_member(manifest.config.digest), blob_member(manifest.layers[1].digest));
        TestStore t;
        Recorder recorder;
        CHECK(load_bytes(t, layout.tar(), recorder).at(0).names == std::vector<std::string>{"shop:1"});
        CHECK(ImageStore(t.store).get("shop:1").row.manifest == layout.index.manifests[0].digest);

        TestStore u;
        layout.files["manifest.json"] =
            entry(blob_member(manifest.config.digest), blob_member(manifest.layers[0].digest));
        CHECK_THAT(error_of([&] { load_bytes(u, layout.tar(), recorder); }),
                   Contains("in manifest.json and 'blobs/sha256/"));
        const Descriptor other =
            layout.blob(layout.files.at(blob_member(manifest.config.digest)) + " ", media_type::kConfig);
        layout.files["manifest.json"] =
            entry(blob_member(other.digest), blob_member(manifest.layers[1].digest));
        CHECK_THAT(error_of([&] { load_bytes(u, layout.tar(), recorder); }),
                   Contains("which index.json does not name"));
        CHECK(is_empty(u.store));
    }
}

TEST_CASE("several images of an archive are loaded together or not at all", "[registry][load]") {
    Layout layout;
    const std::string third = layer_tar({{"third", "3"}});
    layout.list(layout.image({kBase, kTop}, Compression::gzip), "one:1");
    layout.list(layout.image({kBase, third}, Compression::gzip), "two:1");
    Descriptor both = layout.index.manifests[0];
    both.annotations = {{annotation::kImageName, "docker.io/library/one:latest"},
                        {annotation::kRefName, "latest"}};
    layout.index.manifests.push_back(both);
    SECTION("together") {
        TestStore t;
        Recorder recorder;
        const auto loaded = load_bytes(t, layout.tar(), recorder);
        REQUIRE(loaded.size() == 2);
        CHECK(loaded[0].names == std::vector<std::string>{"one:1", "one:latest"});
        CHECK(loaded[1].names == std::vector<std::string>{"two:1"});
        CHECK(t.store.catalogue().layers().size() == 3);
    }
    SECTION("not at all") {
        TestStore t;
        Recorder recorder;
        layout.files[blob_member(Digest::of(compressed(third, Compression::gzip)))][20] ^= 1;
        CHECK_THAT(error_of([&] { load_bytes(t, layout.tar(), recorder); }), Contains("layer 2/2"));
        CHECK(is_empty(t.store));
    }
}

TEST_CASE("a layer that the store has is not read again", "[registry][load]") {
    for (const Compression compression : {Compression::none, Compression::gzip}) {
        TestStore t;
        Recorder recorder;
        Layout layout = two_layers(compression);
        load_bytes(t, layout.tar(), recorder);
        // Gone from the archive: it is not missed.
        Layout again;
        again.list(again.image({kBase, kTop, layer_tar({{"new", "n"}})}, compression), "shop:2");
        again.files.erase(blob_member(Digest::of(compressed(kBase, compression))));
        Recorder second;
        CHECK(load_bytes(t, again.tar(), second).at(0).names == std::vector<std::string>{"shop:2"});
        CHECK(second.notes.size() == 2);
        CHECK_THAT(second.notes.at(0), Contains("already in the store"));
        CHECK(t.store.catalogue().layers().size() == 3);
    }
}

TEST_CASE("a docker-archive of an image that came with a manifest leaves it that manifest",
          "[registry][load][docker]") {
    TestStore t;
    Recorder recorder;
    LegacyArchive archive({kBase});
    Layout layout;
    const Descriptor config = layout.blob(archive.files[1].second, media_type::kConfig);
    Manifest manifest{.config = config,
                      .layers = {layout.blob(compressed(kBase, Compression::gzip), media_type::kLayerGzip)}};
    layout.list(layout.blob(manifest.to_json(), manifest.media_type), "shop:1");
    load_bytes(t, layout.tar(), recorder);
    load_bytes(t, tar_of(archive.files), recorder);
    CHECK(ImageStore(t.store).get("shop:1").row.manifest == layout.index.manifests[0].digest);

    // And the other way about: what comes later with a manifest gets it.
    TestStore u;
    load_bytes(u, tar_of(archive.files), recorder);
    load_bytes(u, layout.tar(), recorder);
    CHECK(ImageStore(u.store).get("shop:1").row.manifest == layout.index.manifests[0].digest);
}

TEST_CASE("of an index over platforms this machine's is taken", "[registry][load][platform]") {
    const Platform foreign{.os = "linux",
                           .architecture = Platform::host().architecture == "s390x" ? "ppc64le" : "s390x",
                           .variant = {}};
    Layout layout;
    Descriptor mine = layout.image({kBase}, Compression::gzip);
    Descriptor other = layout.image({kTop}, Compression::gzip, foreign);
    mine.platform = Platform::host();
    other.platform = foreign;
    Descriptor attestation = layout.image({kTop});
    attestation.platform = Platform{.os = "unknown", .architecture = "unknown", .variant = {}};
    attestation.annotations[annotation::kDockerReferenceType] = "attestation-manifest";
    TestStore t;
    Recorder recorder;
    const auto nested = [&](std::vector<Descriptor> entries, int depth) {
        Index inner{.manifests = std::move(entries)};
        Descriptor at = layout.blob(inner.to_json(), media_type::kIndex);
        for (int i = 1; i < depth; ++i)
            at = layout.blob(Index{.manifests = {at}}.to_json(), media_type::kIndex);
        return at;
    };
    SECTION("as an index within index.json") {
        layout.list(nested({other, attestation, mine}, 1), "shop:1");
        load_bytes(t, layout.tar(), recorder);
        CHECK(ImageStore(t.store).get("shop:1").row.layers.at(0) == diff_id(kBase));
        CHECK(recorder.warnings.empty());
    }
    SECTION("as entries of one name, or without names") {
        for (const std::string name : {"shop:1", ""}) {
            Layout l = layout;
            for (const Descriptor& entry : {other, attestation, mine}) l.list(entry, name);
            const auto loaded = load_bytes(t, l.tar(), recorder);
            REQUIRE(loaded.size() == 1);
            CHECK(t.store.catalogue().image(loaded[0].id)->layers.at(0) == diff_id(kBase));
        }
    }
    SECTION("nested as deep as 8") {
        layout.list(nested({mine}, 8), "shop:1");
        load_bytes(t, layout.tar(), recorder);
        CHECK(ImageStore(t.store).find_image("shop:1"));
    }
    SECTION("but not deeper") {
        for (const int depth : {9, 200}) {
            Layout l = layout;
            layout.list(nested({mine}, depth), "shop:1");
            CHECK_THAT(error_of([&] { load_bytes(t, layout.tar(), recorder); }),
                       Contains("is nested deeper than 8 levels"));
            layout = l;
        }
        CHECK(is_empty(t.store));
    }
    SECTION("the only one there is is loaded with a warning") {
        layout.list(nested({other, attestation}, 1), "shop:1");
        load_bytes(t, layout.tar(), recorder);
        CHECK(recorder.warned_of("is for " + foreign.str() + "; this machine is"));
    }
    SECTION("also when the others' bytes were left out") {
        layout.list(nested({mine, other}, 1), "shop:1");
        layout.files.erase(blob_member(mine.digest));
        load_bytes(t, layout.tar(), recorder);
        CHECK(recorder.warned_of("is for " + foreign.str()));
    }
    SECTION("none for this machine") {
        Descriptor third = other;
        third.platform->architecture = "mips";
        layout.list(nested({other, third}, 1), "shop:1");
        CHECK_THAT(error_of([&] { load_bytes(t, layout.tar(), recorder); }),
                   Contains("has no image for " + Platform::host().str() + "; it has " + foreign.str() +
                            ", linux/mips"));
    }
}

TEST_CASE("names in a layout are full references or tags of the layout's own name", "[registry][load]") {
    struct Row {
        std::string file, annotation, name;
    };
    const Row rows[] = {
        {"box.tar", "latest", "box:latest"},
        {"box.oci.tar.gz", "1.0", "box:1.0"},
        {"box.tar", "docker.io/library/shop:1", "shop:1"},
        {"box.tar", "localhost/shop", "localhost/shop:latest"},
        {"Box.tar", "shop", "shop:latest"},
        {"Box.tar", "latest", ""},
        {"box.tar", "x/Y", ""},
    };
    for (const Row& row : rows) {
        INFO(row.file << " " << row.annotation);
        TestStore t;
        Recorder recorder;
        const std::string path =
            put(t.directory.path() / row.file, two_layers(Compression::none, row.annotation).tar());
        const auto loaded = load_images(t.store, path, recorder);
        CHECK(loaded.at(0).names ==
              (row.name.empty() ? std::vector<std::string>{} : std::vector<std::string>{row.name}));
        CHECK(recorder.warned_of("is none that an image can have here") == row.name.empty());
        CHECK(recorder.warned_of("has no name; gc takes it") == row.name.empty());
    }
}

TEST_CASE("a media type that lies about the compression is told, and the layer is read as what it is",
          "[registry][load]") {
    Layout layout;
    const Manifest good =
        Manifest::parse(layout.files.at(blob_member(layout.image({kBase}, Compression::gzip).digest)), "m");
    Manifest lying = good;
    lying.layers[0].media_type = media_type::kLayerZstd;
    layout.list(layout.blob(lying.to_json(), lying.media_type), "shop:1");
    TestStore t;
    Recorder recorder;
    load_bytes(t, layout.tar(), recorder);
    CHECK(recorder.warned_of("says zstd, but it is gzip"));
}

TEST_CASE("artifacts beside images are passed over with a word", "[registry][load]") {
    Layout layout = two_layers(Compression::none);
    const Descriptor config = layout.blob("{}", "application/vnd.cncf.helm.config.v1+json");
    const Descriptor chart =
        layout.blob(Manifest{.config = config, .layers = {}}.to_json(), media_type::kManifest);
    layout.list(chart, "chart:1");
    TestStore t;
    Recorder recorder;
    CHECK(load_bytes(t, layout.tar(), recorder).size() == 1);
    CHECK(recorder.warned_of("so it is no container image"));
    layout.index.manifests.erase(layout.index.manifests.begin());
    layout.files.erase(kIndexFile);
    CHECK_THAT(error_of([&] { load_bytes(t, layout.tar(), recorder); }),
               Contains("names nothing that is a container image"));
}
