package export

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

// manifest is an annotation of all manifests.
func manifest(key, value string) annotation.Set {
	return annotation.Set{{Place: annotation.Manifest, Key: key, Value: value}}
}

func TestSpecsThatCanBeWritten(t *testing.T) {
	for in, want := range map[string]Spec{
		"type=oci,dest=app.tar":                                 {Type: TypeOCI, Dest: "app.tar"},
		"dest=-,type=oci":                                       {Type: TypeOCI, Dest: "-"},
		"type=oci,dest=app,tar=false":                           {Type: TypeOCI, Dest: "app", Directory: true},
		"type=oci,dest=a,tar=true,oci-mediatypes=true":          {Type: TypeOCI, Dest: "a"},
		"type=oci,dest=a,compression=zstd,compression-level=19": {Type: TypeOCI, Dest: "a", Compression: Zstd, Level: 19},
		"type=oci,dest=a,compression=none":                      {Type: TypeOCI, Dest: "a", Compression: Uncompressed},
		"TYPE=docker,dest=a,name=x:1,name=y":                    {Type: TypeDocker, Dest: "a", Names: []string{"x:1", "y"}},
		"type=docker":                                           {Type: TypeImage, Load: true},
		"type=docker,name=x":                                    {Type: TypeImage, Load: true, Names: []string{"x"}},
		`type=docker,dest=a,"name=x:1,y"`:                       {Type: TypeDocker, Dest: "a", Names: []string{"x:1", "y"}},
		`type=oci,"dest=a,b=c.tar"`:                             {Type: TypeOCI, Dest: "a,b=c.tar"},
		"-":                                                     {Type: TypeTar, Dest: Stdout},
		"../out dir":                                            {Type: TypeLocal, Dest: "../out dir"},
		"type=local,dest=a":                                     {Type: TypeLocal, Dest: "a"},
		"type=tar,dest=a.tar":                                   {Type: TypeTar, Dest: "a.tar"},
		"type=cacheonly":                                        {Type: TypeCacheOnly},
		"type=tar,dest=a.tar,src=/out":                          {Type: TypeTar, Dest: "a.tar", Source: "/out"},
		"type=local,dest=a,mode=copy,src=out":                   {Type: TypeLocal, Dest: "a", Source: "out"},
		"type=local,dest=a,mode=delete,platform-split=false":    {Type: TypeLocal, Dest: "a", Delete: true, Split: new(bool)},
		"type=oci,dest=a,rewrite-timestamp=true":                {Type: TypeOCI, Dest: "a"},
		"type=oci,dest=a=b":                                     {Type: TypeOCI, Dest: "a=b"},
		"type=oci,dest=a,annotation.org.opencontainers.image.title=T=1": {Type: TypeOCI, Dest: "a",
			Annotations: manifest("org.opencontainers.image.title", "T=1")},
		"type=oci,dest=a,compression=gzip,compression-level=9,tar=1": {Type: TypeOCI, Dest: "a", Compression: Gzip,
			Level: 9},
		"type=oci,dest=a,Annotation.org.Title=T,ANNOTATION-index-descriptor.x=": {Type: TypeOCI, Dest: "a",
			Annotations: append(annotation.Set{{Place: annotation.IndexDescriptor, Key: "x"}}, manifest("org.Title", "T")...)},
		"type=registry,annotation-manifest[linux/arm64/v8].x=y": {Type: TypeRegistry, Push: &PushSpec{},
			Annotations: annotation.Set{{Place: annotation.Manifest, Platform: "linux/arm64", Key: "x", Value: "y"}}},
		"type=docker,dest=a,force-compression=true": {Type: TypeDocker, Dest: "a", Force: true},
		"type=image,name=a":                         {Type: TypeImage, Names: []string{"a"}},
		"type=registry":                             {Type: TypeRegistry, Push: &PushSpec{}},
		`type=image,"name=a,b",push=true,push-by-digest=true,force-compression=1,compression=zstd,annotation.k=v`: {
			Type: TypeImage, Names: []string{"a", "b"}, Compression: Zstd, Annotations: manifest("k", "v"),
			Force: true, Push: &PushSpec{ByDigest: true}},
		"type=registry,oci-mediatypes=false,registry.insecure=true": {Type: TypeRegistry,
			Push: &PushSpec{Format: imagebuilder.Docker, Insecure: true}},
		"type=oci,dest=/a b/ü.tar,name=registry.example:5000/team/app:v1": {Type: TypeOCI, Dest: "/a b/ü.tar",
			Names: []string{"registry.example:5000/team/app:v1"}},
	} {
		if got, err := ParseSpec(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestSpecsThatCannotBeWrittenAreRefusedByName(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "it is empty",
		"dest=a":                              `key "type" is missing; supported types are cacheonly, docker, image, local, oci, registry and tar`,
		"type=cacheonly,dest=a":               `key "dest" isn't one that type=cacheonly has; those are type`,
		"type=local,dest=a,mode=move":         "mode=move: must be copy or delete",
		"type=local,dest=/,mode=delete":       "would remove all files of this machine",
		"type=local,dest=a,platform-split=x":  "platform-split=x: must be true or false",
		"type=tar,dest=a,mode=delete":         `key "mode" isn't one that type=tar has; those are dest, platform-split, src, type`,
		"type=oci,dest=a,rewrite-timestamp=0": "rewrite-timestamp=0: must be true",
		"type=registry,push=false":            "type=registry is always pushed",
		"type=image,compression=zstd":         "with push=true only",
		"type=image,annotation.a=b":           "with push=true only",
		"type=image,push=maybe":               "push=maybe: must be true or false",
		"type=image,push=true,dest=x":         `key "dest"`,
		"type=registry,compression=stargz":    "compression=stargz: must be gzip, zstd, zstd:chunked, estargz or uncompressed",
		"type=registry,compression=estargz,compression-level=10":      "compression-level=10: must be 1 to 9 for estargz",
		"type=registry,compression=estargz,oci-mediatypes=false":      "the format of Docker has no eStargz",
		"type=registry,compression=zstd:chunked,oci-mediatypes=false": "the format of Docker has no zstd",
		"type=registry,compression=zstd,oci-mediatypes=false":         "the format of Docker has no zstd",
		"type=registry,annotation.a=b,oci-mediatypes=false":           "the format of Docker has no annotations",
		"type=zip,dest=a":                                              `unknown type "zip"; supported types are cacheonly, docker, image, local, oci, registry and tar`,
		"type=local":                                                   `key "dest" is missing; it is a directory`,
		"type=local,dest=-":                                            "type=tar writes the same to standard output",
		"type=local,dest=a,name=b":                                     `key "name" isn't one that type=local has; those are dest, mode, platform-split, src, type`,
		"type=tar,dest=a,compression=gzip":                             `key "compression" isn't one that type=tar has`,
		"type=tar,dest=a,annotation.x=y":                               `key "annotation.x" isn't one that type=tar has`,
		"type=oci":                                                     `key "dest" is missing`,
		"type=oci,dest=":                                               `key "dest" is missing`,
		"type=oci,dest=a,dst=b":                                        `key "dst" isn't one that type=oci has; those are compression, compression-level, dest, force-compression, name, oci-mediatypes, rewrite-timestamp, tar, type`,
		"type=oci,dest=a,dest=b":                                       `key "dest" is there twice`,
		"type=oci,dest=a,x":                                            `field "x" isn't KEY=VALUE`,
		"type=oci,dest=a,force-compression=so":                         "force-compression=so: must be true or false",
		"type=oci,dest=a,tar=maybe":                                    "tar=maybe: must be true or false",
		"type=oci,dest=-,tar=false":                                    "dest=- can't be a directory",
		"type=oci,dest=a,compression=xz":                               "compression=xz: must be gzip, zstd, zstd:chunked, estargz or uncompressed",
		"type=oci,dest=a,compression-level=10":                         "compression-level=10: must be 1 to 9 for gzip",
		"type=oci,dest=a,compression-level=-1":                         "compression-level=-1: must be 1 to 9 for gzip",
		"type=oci,dest=a,compression-level=0":                          "compression-level=0: must be a number from 1",
		"type=oci,dest=a,compression-level=max":                        "compression-level=max: must be a number from 1",
		"type=oci,dest=a,compression=zstd,compression-level=23":        "compression-level=23: must be 1 to 22 for zstd",
		"type=oci,dest=a,compression=uncompressed,compression-level=3": "compression-level has no meaning without compression",
		"type=oci,dest=a,oci-mediatypes=false":                         "oci-mediatypes=false: must be true for type=oci",
		"type=oci,dest=a,annotation.=x":                                "annotation.=x: the annotation has no key",
		"type=oci,dest=a,annotation-layer.a=x":                         `"layer" is no place of an annotation`,
		"type=oci,dest=a,annotation-index[linux/amd64].a=x":            "an index has no platform",
		"type=oci,dest=a,annotation.a=x,annotation.a=y":                `key "annotation.a" is there twice`,
		"type=docker,dest=a,annotation-index.a=x":                      `key "annotation-index.a" isn't one`,
		"type=docker,dest=a,compression=gzip":                          `key "compression" isn't one that type=docker has; those are dest, force-compression, name, rewrite-timestamp, type`,
		"type=docker,dest=a,tar=false":                                 `key "tar" isn't one that type=docker has`,
		"type=oci,dest=a,name=Bad Name":                                `image name "Bad Name"`,
		"type=oci,dest=a,name=x@sha256:" + strings.Repeat("a", 64):     "must be NAME or NAME:TAG",
		`type=oci,dest="a`:                                             "read fields",
		"type=oci,dest=a\ntype=local":                                  "it must be one line",
	} {
		_, err := ParseSpec(in)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrSpec) {
			t.Errorf("%q: got %v; want %q in it", in, err, want)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add("type=oci,dest=app.tar,compression=zstd,compression-level=3,name=a:b")
	f.Add(`type=docker,"dest=a,b",annotation.x=y`)
	f.Fuzz(func(t *testing.T, in string) {
		spec, err := ParseSpec(in)
		if err == nil && (spec.Dest == "" && !spec.IsImage() || spec.Check() != nil) {
			t.Errorf("%q gives %+v", in, spec)
		}
	})
}
