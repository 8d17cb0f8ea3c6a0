"""The planted truth of the sample: which topics exist, how large they are, what each is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One planted topic. ``weight`` is its expected number of conversations among 1,200."""

    key: str
    theme: str
    title: str
    weight: int
    product: str


THEMES: dict[str, str] = {
    "access": "Signing in and account access",
    "billing": "Bills, refunds and charges",
    "delivery": "Delivery and returns of devices",
    "app": "App bugs and performance",
    "devices": "Device setup and hardware faults",
    "connections": "Integrations, API, import and export",
    "plans": "Plans, seats and cancellations",
    "privacy": "Privacy and personal data requests",
}

TOPICS: tuple[Topic, ...] = (
    Topic("reset_email", "access", "Password reset e-mail does not arrive", 66, "account"),
    Topic("two_step_codes", "access", "Two-step codes lost or refused", 44, "account"),
    Topic("account_locked", "access", "Account locked after a suspicious sign-in", 28, "account"),
    Topic("change_email", "access", "Changing the address or owner of an account", 20, "account"),
    Topic("double_charge", "billing", "Charged twice for the same month", 80, "billing"),
    Topic("refund_missing", "billing", "Promised refund has not arrived", 56, "billing"),
    Topic("tax_invoice", "billing", "Invoice with company name and tax number", 40, "billing"),
    Topic("card_declined", "billing", "Payment card declined at renewal", 36, "billing"),
    Topic("late_parcel", "delivery", "Parcel late and tracking stands still", 54, "shop"),
    Topic("damaged_arrival", "delivery", "Device arrived broken", 34, "shop"),
    Topic("wrong_item", "delivery", "Wrong or missing item in the box", 30, "shop"),
    Topic("return_label", "delivery", "Sending a device back", 46, "shop"),
    Topic("app_crash", "app", "App closes itself on start", 62, "app"),
    Topic("slow_charts", "app", "Charts and dashboard load slowly", 34, "app"),
    Topic("missing_alerts", "app", "Alerts come late or not at all", 48, "app"),
    Topic("widget_layout", "app", "Display faults: dark mode, widget, text size", 18, "app"),
    Topic("hub_pairing", "devices", "Hub does not join the wifi", 72, "hub"),
    Topic("battery_drain", "devices", "Sensor battery runs down too fast", 44, "sensor"),
    Topic("wrong_readings", "devices", "Sensor shows wrong temperature or humidity", 38, "sensor"),
    Topic("hot_adapter", "devices", "Power adapter gets dangerously hot", 14, "hub"),
    Topic("firmware_stuck", "devices", "Hub stuck after the firmware update", 40, "hub"),
    Topic("api_limits", "connections", "API requests refused for too many calls", 24, "api"),
    Topic("webhooks", "connections", "Webhook deliveries fail", 28, "api"),
    Topic("voice_link", "connections", "Voice assistant loses the devices", 30, "integration"),
    Topic("csv_import", "connections", "CSV import rejects the file", 36, "data"),
    Topic("report_export", "connections", "Exported report is empty or cut off", 32, "data"),
    Topic("cancel_plan", "plans", "Cancelling a subscription", 58, "plan"),
    Topic("add_seats", "plans", "Adding people to a team plan", 24, "plan"),
    Topic("trial_discount", "plans", "Student and non-profit discount", 16, "plan"),
    Topic("erase_account", "privacy", "Deleting the account and all data", 22, "account"),
    Topic("data_copy", "privacy", "Asking for a copy of personal data", 14, "account"),
    Topic(
        "marketing_mail", "privacy", "Newsletter keeps coming after unsubscribing", 12, "account"
    ),
)

#: Two to three per cent of all conversations at first, more than three times that at the end.
PLANTED_RISE = "late_parcel"
#: Nothing at all until the last two and a half weeks.
PLANTED_NEW = "firmware_stuck"
#: Nearly all of it comes from one end user: enough conversations for a floor, too few people.
PLANTED_SINGLE_USER = "webhooks"
#: Label of the few conversations that belong to no topic.
OFF_TOPIC = "off_topic"
