"""SQLAlchemy over psycopg against DATABASE_URL: tables from models, sessions, nested transactions, introspection."""

import os
from datetime import datetime, timezone
from decimal import Decimal

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Integer, Numeric, String, create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

URL = os.environ["DATABASE_URL"].replace("postgres://", "postgresql+psycopg://", 1)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "driver_alchemy_customers"
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100))
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", order_by="Order.number")


class Order(Base):
    __tablename__ = "driver_alchemy_orders"
    __table_args__ = (ForeignKeyConstraint(["user_id"], ["driver_alchemy_customers.user_id"]),)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    placed: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    customer: Mapped[Customer] = relationship(back_populates="orders")


def create(engine):
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)


def introspect(engine):
    inspector = inspect(engine)
    assert {"driver_alchemy_customers", "driver_alchemy_orders"} <= set(inspector.get_table_names())
    assert [column["name"] for column in inspector.get_columns("driver_alchemy_orders")] == ["user_id", "number", "total", "placed"]
    assert inspector.get_pk_constraint("driver_alchemy_orders")["constrained_columns"] == ["user_id", "number"]
    assert inspector.get_foreign_keys("driver_alchemy_orders")[0]["referred_table"] == "driver_alchemy_customers"


def insert_and_read(engine):
    for key in range(1, 41):
        with Session(engine) as session:
            session.add(Customer(user_id=key, name=f"customer {key}"))
            session.flush()
            session.add(Order(user_id=key, number=1, total=Decimal("9.99")))
            session.add(Order(user_id=key, number=2, total=Decimal("0.01")))
            session.commit()
    for key in range(1, 41):
        with Session(engine) as session:
            customer = session.get(Customer, key)
            assert customer.name == f"customer {key}" and [order.number for order in customer.orders] == [1, 2]
            assert customer.orders[0].placed.astimezone(timezone.utc).year > 2000
            total = session.scalar(select(func.sum(Order.total)).where(Order.user_id == key))
            assert total == Decimal("10.00"), total


def transactions(engine):
    with Session(engine) as session:
        customer = session.get(Customer, 5)
        customer.name = "changed"
        with session.begin_nested() as nested:
            session.add(Order(user_id=5, number=3, total=1))
            session.flush()
            nested.rollback()
        session.commit()
    with Session(engine) as session:
        assert session.get(Customer, 5).name == "changed"
        assert session.scalar(select(func.count()).select_from(Order).where(Order.user_id == 5)) == 2
        session.get(Customer, 5).name = "never"
        session.flush()
        session.rollback()
        assert session.get(Customer, 5).name == "changed"


def errors(engine):
    with Session(engine) as session:
        session.add(Order(user_id=5, number=1, total=1))
        try:
            session.commit()
            raise AssertionError("no error for a key that exists")
        except IntegrityError:
            session.rollback()
    with engine.connect() as connection:
        try:
            connection.execute(text("select * from driver_alchemy_nothing"))
            raise AssertionError("no error for a table that does not exist")
        except ProgrammingError:
            connection.rollback()
        assert connection.scalar(text("select 1")) == 1


def prepared(engine):
    with engine.connect() as connection:
        for _ in range(10):
            for key in range(1, 41):
                count = connection.scalar(select(func.count()).select_from(Order).where(Order.user_id == key))
                assert count == 2, (key, count)
            connection.commit()


def large_rows(engine):
    with Session(engine) as session:
        session.execute(text("alter table driver_alchemy_customers alter column name type text"))
        session.commit()
        session.add(Customer(user_id=100, name="x" * 2_000_000))
        session.commit()
    with Session(engine) as session:
        assert len(session.get(Customer, 100).name) == 2_000_000


def main():
    engine = create_engine(URL, pool_size=2)
    for step in (create, introspect, insert_and_read, transactions, errors, prepared, large_rows):
        step(engine)
        print("ok", step.__name__)
    Base.metadata.drop_all(engine)
    engine.dispose()


main()
