"""ModelService: registers model artifacts that were sent before."""

from typing import Any, Literal, TypeAlias, final

import grpc
from google.protobuf import empty_pb2
from typing_extensions import override

from auditor.edge.clock import Clock
from auditor.stagelog.digest import Digest, digest_of, parse_digest
from service.auth import require_tenant
from service.convert import from_model_format, to_model
from service.names import parse_member, parse_parent, parse_request_id
from service.paging import PageTokens, cut_page, page_size
from service.pb.v1 import model_pb2
from service.pb.v1.model_service_pb2_grpc import ModelServiceServicer
from service.records.base import CatalogueRecords, ModelRow, Position, RequestKey
from service.sandbox import Sandbox
from service.servicers.held import require_held
from service.threads import Threads

COLLECTION = "models"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Format = Literal["safetensors", "onnx"]


@final
class ModelServicer(ModelServiceServicer):
    """Decodes, checks in the sandbox, stores the row, encodes.

    Args:
        records: Rows of models and blobs.
        sandbox: Opens the artifact.
        threads: Where that waits.
        tokens: Seals pages.
        clock: Dates rows.
    """

    def __init__(
        self,
        *,
        records: CatalogueRecords,
        sandbox: Sandbox,
        threads: Threads,
        tokens: PageTokens,
        clock: Clock,
    ) -> None:
        self._records = records
        self._sandbox = sandbox
        self._threads = threads
        self._tokens = tokens
        self._clock = clock

    @override
    async def CreateModel(
        self, request: model_pb2.CreateModelRequest, context: Context
    ) -> model_pb2.Model:
        """Check an artifact's structure and register it."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        digest = parse_digest(request.digest, where="digest")
        form = from_model_format(request.format)
        identity = parse_request_id(request.request_id)
        key = None
        if identity is not None:
            asked = {"method": "CreateModel", "digest": digest, "format": form}
            key = RequestKey(id=identity, digest=digest_of(asked))
        row = await self._threads.run(self._create, tenant, digest, form=form, key=key)
        return to_model(tenant, row)

    @override
    async def GetModel(
        self, request: model_pb2.GetModelRequest, context: Context
    ) -> model_pb2.Model:
        """Return one model."""
        tenant, digest = _parse(request.name)
        return to_model(tenant, await self._threads.run(self._records.model, tenant, digest))

    @override
    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsResponse:
        """Return a page of models, newest first."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        size = page_size(request.page_size)
        scope = (COLLECTION, tenant)
        after = self._tokens.read(request.page_token, scope=scope)
        rows = await self._threads.run(self._records.models, tenant, after=after, limit=size + 1)
        page, more = cut_page(rows, size=size)
        last = Position(created=page[-1].created, digest=page[-1].digest) if more else None
        return model_pb2.ListModelsResponse(
            models=[to_model(tenant, row) for row in page],
            next_page_token=self._tokens.write(last, scope=scope) if last is not None else "",
        )

    @override
    async def DeleteModel(
        self, request: model_pb2.DeleteModelRequest, context: Context
    ) -> empty_pb2.Empty:
        """Remove a model from the list."""
        tenant, digest = _parse(request.name)
        await self._threads.run(self._records.delete_model, tenant, digest)
        return empty_pb2.Empty()

    def _create(
        self, tenant: str, digest: Digest, *, form: Format, key: RequestKey | None
    ) -> ModelRow:
        size = require_held(self._records, tenant, [digest], where="digest")[digest]
        with self._sandbox.child(mapped_bytes=size) as child:
            described = child.model(digest, form=form)
        row = ModelRow(
            digest=digest,
            format=form,
            tensors=described.tensors,
            elements=described.elements,
            size_bytes=size,
            created=self._clock.now().timestamp(),
        )
        return self._records.add_model(tenant, row, request=key)


def _parse(name: str) -> tuple[str, Digest]:
    tenant, digest = parse_member(name, collection=COLLECTION)
    return require_tenant(tenant, name=name), Digest(digest)
