#include "registry/image_store.h"

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/store/transaction.h"
#include "registry/layout.h"
#include "tests/registry/layouts.h"

using namespace surcoat;
using namespace surcoat::registry;
using Catch::Contains;
using test::error_of;
using test::TestStore;

namespace {

/// Makes an image of one layer that holds one file, under these names.
Digest make_image(Store& store, const std::string& content, const std::vector<std::string>& names) {
    Transaction transaction(store, "test");
    Entry file;
    file.path = "content";
    file.inode.size = content.size();
    file.inode.object = transaction.add_object(as_bytes(content));
    Image image;
    image.platform = Platform::host();
    image.created = "2026-11-22T10:00:00Z";
    image.layers = {transaction.add_layer({file})};
    image.history = {{.created_by = "test"}};
    ImageStore images(store);
    const ImageStore::Staged staged = images.stage(transaction, image);
    std::vector<std::string> full;
    for (const std::string& name : names) full.push_back(Reference::parse(name).with_default_tag().full());
    transaction.commit([&](Catalogue::Write& write) { ImageStore::publish(write, staged, full); });
    images.write_layout_index();
    return staged.id;
}

void make_container(Store& store, const Digest& image, const std::string& name) {
    store.catalogue().write([&](Catalogue::Write& write) {
        ContainerRow row{.id = std::string(64, 'c'), .name = name, .image = image};
        row.layers = store.catalogue().image(image)->layers;
        row.state = "created";
        row.spec = "{}";
        write.add_container(row);
    });
}

}  // namespace

TEST_CASE("an image is found by every name that it has", "[registry][image_store]") {
    TestStore t;
    const Digest id = make_image(t.store, "one", {"shop:1", "localhost:5000/team/shop"});
    ImageStore images(t.store);
    const StoredImage stored = images.get("shop:1");
    const std::string hex(id.hex());
    for (const std::string& name :
         {std::string("shop:1"), std::string("docker.io/library/shop:1"), std::string("docker.io/shop:1"),
          std::string("localhost:5000/team/shop"), std::string("localhost:5000/team/shop:latest"), hex,
          id.str(), hex.substr(0, 12), hex.substr(0, 4), "sha256:" + hex.substr(0, 8),
          "shop@" + stored.row.manifest.str(), "shop:9@" + stored.row.manifest.str(), "shop@" + id.str()}) {
        INFO(name);
        REQUIRE(images.find_image(name));
        CHECK(images.find_image(name)->row.id == id);
    }
    for (const std::string& name :
         {std::string("shop"), std::string("shop:2"), std::string("team/shop"), hex.substr(0, 3),
          "other@" + stored.row.manifest.str(), std::string("0000000000000000")}) {
        INFO(name);
        CHECK_FALSE(images.find_image(name));
    }
    CHECK(stored.image.created == "2026-11-22T10:00:00Z");
    CHECK(stored.row.created_at == 1795341600);
    CHECK(images.known_names() == std::vector<std::string>{"shop:1", "localhost:5000/team/shop:latest", "localhost:5000/team/shop"});
    CHECK(images.list().size() == 1);
    CHECK(images.find("shop:1", Platform::host()));
    CHECK_FALSE(images.find("shop:1", Platform{.os = "linux", .architecture = "s390x", .variant = {}}));
    const Manifest manifest = Manifest::parse(t.store.read_blob(stored.row.manifest), "manifest");
    CHECK(manifest.layers.at(0).digest == stored.row.layers.at(0).digest);
    CHECK(manifest.layers.at(0).size == t.store.catalogue().layer(stored.row.layers.at(0))->archive_bytes);
}

TEST_CASE("an image that is not there: what is meant is suggested", "[registry][image_store]") {
    TestStore t;
    ImageStore images(t.store);
    CHECK_THAT(error_of([&] { images.get("shop"); }),
               Contains("there is no image 'shop'") && Contains("the store has no images yet"));
    make_image(t.store, "one", {"shop:1"});
    CHECK_THAT(error_of([&] { images.get("shpo:1"); }),
               Contains("did you mean 'shop:1'?") && Contains("`surcoat images`"));
    CHECK_THAT(error_of([&] { images.get("shop"); }), Contains("did you mean 'shop:1'?"));
    CHECK_THAT(error_of([&] { images.get("Shop"); }), Contains("must be lower case"));
    CHECK_THAT(error_of([&] { images.get("nothing"); }), !Contains("did you mean"));
}

TEST_CASE("a prefix of several IDs names them all", "[registry][image_store]") {
    TestStore t;
    const std::string common = "abcd" + std::string(59, '0');
    t.store.catalogue().write([&](Catalogue::Write& write) {
        for (const char last : {'1', '2'}) {
            const Digest id = Digest::parse("sha256:" + common + last);
            write.add_image({.id = id, .manifest = id});
        }
    });
    CHECK_THAT(error_of([&] { ImageStore(t.store).get("abcd0"); }),
               Contains("'abcd0' is the beginning of 2 image IDs: abcd00000000, abcd00000000") &&
                   Contains("give more digits"));
}

TEST_CASE("tagging moves a name, removing the last one removes the image", "[registry][image_store]") {
    TestStore t;
    const Digest one = make_image(t.store, "one", {"shop:1"});
    const Digest two = make_image(t.store, "two", {"shop:2"});
    ImageStore images(t.store);
    images.tag("shop:1", "shop");
    CHECK(images.get("shop").row.id == one);
    images.tag(two.short_hex(), "shop");
    CHECK(images.get("shop").row.id == two);
    CHECK(images.remove("shop:1", false) ==
          std::vector<std::string>{"Untagged: shop:1", "Deleted: " + one.str()});
    CHECK_FALSE(images.find_image(one.str()));
    CHECK(images.remove("shop:2", false) == std::vector<std::string>{"Untagged: shop:2"});
    CHECK(images.remove("shop", false) ==
          std::vector<std::string>{"Untagged: shop:latest", "Deleted: " + two.str()});
    CHECK_THAT(error_of([&] { images.remove("shop", false); }), Contains("there is no image 'shop'"));
    CHECK_THAT(error_of([&] { images.tag("nothing", "x"); }), Contains("there is no image 'nothing'"));
}

TEST_CASE("names that cannot be given are refused", "[registry][image_store]") {
    TestStore t;
    const Digest id = make_image(t.store, "one", {"shop:1"});
    ImageStore images(t.store);
    CHECK_THAT(error_of([&] { images.tag("shop:1", "x@" + id.str()); }), Contains("it has a digest"));
    CHECK_THAT(error_of([&] { images.tag("shop:1", "X"); }), Contains("must be lower case"));
}

TEST_CASE("an id with names in several repositories is removed only by force", "[registry][image_store]") {
    TestStore t;
    const Digest id = make_image(t.store, "one", {"shop:1", "other:1"});
    ImageStore images(t.store);
    CHECK_THAT(error_of([&] { images.remove(id.short_hex(), false); }),
               Contains("has names in 2 repositories"));
    CHECK(images.remove(id.short_hex(), true).size() == 3);
    CHECK(t.store.catalogue().images().empty());

    const Digest again = make_image(t.store, "one", {"shop:1", "shop:2"});
    CHECK(images.remove(again.str(), false) ==
          std::vector<std::string>{"Untagged: shop:1", "Untagged: shop:2", "Deleted: " + again.str()});
}

TEST_CASE("an image that a container uses stays until the container has gone", "[registry][image_store]") {
    TestStore t;
    const Digest id = make_image(t.store, "one", {"shop:1", "shop:2"});
    make_container(t.store, id, "web");
    ImageStore images(t.store);
    CHECK(images.remove("shop:2", false) == std::vector<std::string>{"Untagged: shop:2"});
    CHECK_THAT(
        error_of([&] { images.remove("shop:1", false); }),
        Contains("image 'shop:1' is used by the container 'web' (created)") && Contains("surcoat rm web"));
    CHECK(images.find_image("shop:1"));
    CHECK(images.remove("shop:1", true) == std::vector<std::string>{"Untagged: shop:1"});
    CHECK_FALSE(images.find_image("shop:1"));
    CHECK(images.find_image(id.str()));
}

TEST_CASE("with keep-blobs always the store's root is a layout of the named images",
          "[registry][image_store][layout]") {
    TestStore t(KeepBlobs::always);
    const Digest id = make_image(t.store, "one", {"shop:1"});
    make_image(t.store, "two", {});
    const auto index = [&] { return Index::parse(read_file(t.store.root() / "index.json"), "index.json"); };
    REQUIRE(index().manifests.size() == 1);
    CHECK(index().manifests[0].annotation(annotation::kRefName) == "shop:1");
    CHECK(index().manifests[0].annotation(annotation::kImageName) == "docker.io/library/shop:1");
    CHECK(read_file(t.store.root() / "oci-layout") == kLayoutText);
    test::Recorder recorder;
    const DirectoryMembers members(t.store.root().string());
    const auto offers = read_layout(members, "", recorder);
    REQUIRE(offers.size() == 1);
    CHECK(Digest::of(offers[0].config) == id);
    for (const OfferedLayer& layer : offers[0].layers) {
        CHECK(Digest::of(members.read(layer.member, 1 << 20)) == layer.blob);
    }
    ImageStore(t.store).tag("shop:1", "shop:2");
    CHECK(index().manifests.size() == 2);
    ImageStore(t.store).remove("shop:1", false);
    CHECK(index().manifests.size() == 1);
}
