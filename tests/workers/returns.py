"""Mails that come back, written from RFC 3464 and RFC 5965: as Postfix, Exchange, qmail and a feedback loop do."""

from __future__ import annotations

import email
from email.message import Message


def head_of(mail: bytes) -> str:
    """The head of a mail, as servers quote it."""
    return mail.partition(b"\r\n\r\n")[0].decode()


def dsn(
    to: str,
    quoted: str,
    *,
    recipient: str = "ann@example.com",
    action: str = "failed",
    status: str = "5.1.1",
    said: str = "smtp; 550 5.1.1 <ann@example.com>: Recipient address rejected: User unknown",
    quoted_as: str = "text/rfc822-headers",
    message_id: str = "<20260302120000.4A1B2C3D@mx.example.com>",
) -> bytes:
    """A delivery status notification with the three parts of RFC 3462."""
    return f"""Received: from mx.example.com (mx.example.com [192.0.2.1]) by bounce.example.com with ESMTP
From: MAILER-DAEMON@mx.example.com (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
Date: Mon, 2 Mar 2026 11:58:00 +0000
Message-Id: {message_id}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="4A1B2C3D.1772452800/mx.example.com"

This is a MIME-encapsulated message.

--4A1B2C3D.1772452800/mx.example.com
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.example.com.

--4A1B2C3D.1772452800/mx.example.com
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
X-Postfix-Queue-ID: 4A1B2C3D
Arrival-Date: Mon,  2 Mar 2026 11:57:58 +0000 (UTC)

Final-Recipient: rfc822; {recipient}
Original-Recipient: rfc822;{recipient}
Action: {action}
Status: {status}
Remote-MTA: dns; mail.example.com
Diagnostic-Code: {said}

--4A1B2C3D.1772452800/mx.example.com
Content-Description: Undelivered Message
Content-Type: {quoted_as}

{quoted}

--4A1B2C3D.1772452800/mx.example.com--
""".replace("\r\n", "\n").replace("\n", "\r\n").encode()  # fmt: skip


def arf(quoted: str, *, feedback: str = "abuse", mail_from: str = "", recipient: str = "[redacted]") -> bytes:
    """A complaint in the abuse reporting format."""
    named = f"Original-Mail-From: <{mail_from}>\n" if mail_from else ""
    return f"""From: <abusedesk@example.com>
Date: Mon, 2 Mar 2026 11:59:00 +0000
Subject: FW: Your week
To: <fbl@bounce.example.com>
Message-ID: <feedback.1@example.com>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report for an email message received from IP 192.0.2.2.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: {feedback}
User-Agent: SomeGenerator/1.0
Version: 1
{named}Original-Rcpt-To: <{recipient}>
Received-Date: Mon, 2 Mar 2026 11:00:00 +0000

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

{quoted}

Hello

--part1_13d.2e68ed54_boundary--
""".replace("\r\n", "\n").replace("\n", "\r\n").encode()  # fmt: skip


def prose(to: str, quoted: str, reply: str = "550 5.1.1 No such user here") -> bytes:
    """What a server writes that knows no format of reports (qmail)."""
    return f"""From: MAILER-DAEMON@old.example.com
To: {to}
Subject: failure notice
Date: Mon, 2 Mar 2026 11:58:00 +0000

Hi. This is the qmail-send program at old.example.com.

<ann@example.com>:
192.0.2.9 does not like recipient.
Remote host said: {reply}
Giving up on 192.0.2.9.

--- Below this line is a copy of the message.

{quoted}
""".replace("\r\n", "\n").replace("\n", "\r\n").encode()  # fmt: skip


def absence(to: str) -> bytes:
    """An answer of a person's absence assistant, which is no bounce."""
    made = Message()
    made["From"], made["To"], made["Auto-Submitted"] = "ann@example.com", to, "auto-replied"
    made["Subject"] = "Out of office: 550 offers"
    made.set_payload("I am away until 5.1.1 next year.")
    return email.message.Message.as_bytes(made)
