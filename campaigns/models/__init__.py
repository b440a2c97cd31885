"""The tables of campaigns, a file an aggregate. Importing this package registers them all."""

from campaigns.models.accounts import AccessEntry, AdminEntry, ApiKey, SignIn, User
from campaigns.models.approval import Approval, ApprovalRule
from campaigns.models.campaign import (
    Campaign,
    ContactLimit,
    GlobalHoldout,
    Goal,
    HoldoutAssignment,
    Occurrence,
    Plan,
    ProfitTerms,
    RatioCheck,
    ReplenishEntry,
    Segment,
    SegmentSize,
    TriggerEntry,
)
from campaigns.models.catalogue import Creative, Message, Offer, Picture
from campaigns.models.consent import MailConsent
from campaigns.models.delivery import Delivery, SentFacts
from campaigns.models.exports import AudienceExport, ExportMember
from campaigns.models.gateways import Gateway
from campaigns.models.learning import (
    ModelDrift,
    ModelMove,
    ModelShadow,
    ModelVerdict,
    TrainedModel,
    TrainingRun,
)
from campaigns.models.relations import LearntRelations, RelationByHand
from campaigns.models.scenario import Scenario
from campaigns.models.scores import GuardTerms, ScoreModel, ScoreRun
from campaigns.models.sending import DeliveryCount, DeliveryRetry, Instance, Permit, PermitUse, SendTerms
from campaigns.models.signing import DkimKey
from campaigns.models.timing import JoinEntry, OpenHours, SnapshotMember
from campaigns.opens import Click, Decision, Fetch, Outcome, Subject

__all__ = [
    "AccessEntry", "AdminEntry", "ApiKey", "Approval", "ApprovalRule", "AudienceExport", "Campaign", "Click",
    "ContactLimit", "Creative", "Decision", "Delivery", "DeliveryCount", "DeliveryRetry", "DkimKey",
    "ExportMember", "Fetch", "Gateway", "GlobalHoldout", "Goal", "GuardTerms", "HoldoutAssignment", "Instance",
    "JoinEntry", "LearntRelations", "MailConsent", "Message", "ModelDrift", "ModelMove", "ModelShadow", "ModelVerdict",
    "Occurrence", "Offer", "OpenHours", "Outcome", "Permit", "PermitUse", "Picture", "Plan", "ProfitTerms",
    "RatioCheck", "RelationByHand", "ReplenishEntry", "Scenario", "ScoreModel", "ScoreRun", "Segment", "SegmentSize",
    "SendTerms", "SentFacts", "SignIn", "SnapshotMember", "Subject", "TrainedModel", "TrainingRun", "TriggerEntry",
    "User",
]  # fmt: skip
